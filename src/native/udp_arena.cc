// UDP in batches over one arena of memory: recvmmsg into slots, one JavaScript call, sendmmsg of what it listed.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "addon.h"
#include "binding.h"
#include "udp_messages.h"
#include "udp_socket.h"

namespace tidesman {
namespace {

// Cells of the counters, as in udp-arena.ts.
enum Counter { kReceivedCount, kSent, kBatches, kTruncated, kSendErrors, kRefused, kCallbackErrors, kCounters };
constexpr size_t kControlCells = 16;
// Messages per sendmmsg, how often one flush waits a millisecond for a full send buffer, and how many pending errors of a
// socket one message outlives.
constexpr size_t kSendChunk = 256;
constexpr int kMostWaits = 3, kMostRefusals = 2;

}  // namespace

class UdpArena : public Closable, public std::enable_shared_from_this<UdpArena> {
 public:
  static constexpr napi_type_tag kTag = {0x8a51b0d3c6e44f03, 0x9f2d7e60a1b35c03};

  static napi_value open(napi_env env, Arguments& options, napi_value on_batch);
  ~UdpArena() override { close(); }
  napi_value open_socket(napi_env env, Arguments& options);
  void flush();
  void close_socket(UdpSocket& socket);
  void close() override;

 private:
  void on_readable(const std::shared_ptr<UdpSocket>& socket, int error);
  void send_listed(UdpSocket& socket, int* waits);
  void send_messages(UdpSocket& socket, size_t count, int* waits);
  void count_refused(UdpSocket& socket);

  Addon* addon_ = nullptr;
  std::shared_ptr<Callback> callback_;
  Slots slots_;
  uint32_t most_sends_ = 0, rounds_ = 0;
  std::shared_ptr<void> slab_memory_, meta_memory_, send_memory_, control_memory_, counter_memory_;
  int32_t* sends_ = nullptr;
  int32_t* control_ = nullptr;
  double* counters_ = nullptr;
  std::vector<std::shared_ptr<UdpSocket>> sockets_;
  ReceiveMessages in_;
  SendMessages out_;
  // By pair of the list: its slot, and the next pair of the same socket.
  std::vector<int32_t> next_, slot_of_;
  std::vector<UdpSocket*> touched_;
  bool closed_ = false;
};
constexpr napi_type_tag UdpArena::kTag;

napi_value UdpArena::open(napi_env env, Arguments& options, napi_value on_batch) {
  const int64_t slots = options.number("slots"), slot_size = options.number("slotSize");
  const int64_t most_sends = options.number("maxSends"), rounds = options.number("rounds");
  constexpr int64_t kMost = 1 << 20, kMostBytes = 1 << 30;
  if (!options.ok() || slots < 1 || slots > kMost || slot_size < 1 || slot_size > kMost ||
      slots * slot_size > kMostBytes || most_sends < 1 || most_sends > kMost || rounds < 1 || rounds > kMost) {
    return options.fail();
  }
  auto arena = std::make_shared<UdpArena>();
  arena->addon_ = Addon::of(env);
  arena->slots_.count = static_cast<uint32_t>(slots);
  arena->slots_.size = static_cast<uint32_t>(slot_size);
  arena->most_sends_ = static_cast<uint32_t>(most_sends);
  arena->rounds_ = static_cast<uint32_t>(rounds);
  const auto slab_size = static_cast<size_t>(slots * slot_size);
  const auto meta_cells = static_cast<size_t>(slots) * kSlotStride;
  arena->slab_memory_ = allocate(slab_size);
  arena->meta_memory_ = allocate(meta_cells * sizeof(int32_t));
  arena->send_memory_ = allocate(static_cast<size_t>(most_sends) * 2 * sizeof(int32_t));
  arena->control_memory_ = allocate(kControlCells * sizeof(int32_t));
  arena->counter_memory_ = allocate(kCounters * sizeof(double));
  if (!arena->slab_memory_ || !arena->meta_memory_ || !arena->send_memory_ || !arena->control_memory_ ||
      !arena->counter_memory_) {
    return throw_errno(env, ENOMEM, "UDP arena memory");
  }
  arena->slots_.slab = static_cast<uint8_t*>(arena->slab_memory_.get());
  arena->slots_.meta = static_cast<int32_t*>(arena->meta_memory_.get());
  arena->sends_ = static_cast<int32_t*>(arena->send_memory_.get());
  arena->control_ = static_cast<int32_t*>(arena->control_memory_.get());
  arena->counters_ = static_cast<double*>(arena->counter_memory_.get());
  arena->next_.resize(arena->most_sends_);
  arena->slot_of_.resize(arena->most_sends_);
  arena->out_.reserve(std::min<size_t>(arena->most_sends_, kSendChunk));
  arena->callback_ = std::make_shared<Callback>(env, on_batch, "TidesmanUdpArena");
  arena->addon_->add(arena.get());

  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "memory", expose(env, arena->slab_memory_, slab_size, napi_uint8_array));
  set(env, result, "meta", expose(env, arena->meta_memory_, meta_cells, napi_int32_array));
  set(env, result, "sends",
      expose(env, arena->send_memory_, static_cast<size_t>(most_sends) * 2, napi_int32_array));
  set(env, result, "control", expose(env, arena->control_memory_, kControlCells, napi_int32_array));
  set(env, result, "counters", expose(env, arena->counter_memory_, kCounters, napi_float64_array));
  set(env, result, "handle", wrap(env, arena));
  return result;
}

napi_value UdpArena::open_socket(napi_env env, Arguments& arguments) {
  if (closed_) return throw_errno(env, EBADF, "arena");
  UdpSocketOptions options;
  if (!options.read(arguments, slots_.count)) return arguments.fail();
  auto socket = std::make_shared<UdpSocket>();
  socket->arena = weak_from_this();
  socket->v6 = options.v6;
  socket->connected = options.connected;
  socket->peer = options.peer;
  socket->first_slot = options.first_slot;
  socket->batch = options.batch;
  // An index may be used again from here on: what is listed for its former owner leaves first.
  flush();

  std::string step;
  int error = open_descriptor(*socket, options, &step);
  UdpAddress bound = {};
  socklen_t length = sizeof bound;
  if (error == 0 && getsockname(socket->fd, &bound.any, &length) != 0) error = errno;
  if (error == 0) {
    std::shared_ptr<UdpArena> self = shared_from_this();
    socket->poller = Poller::open(
        addon_, socket->fd, [self, socket](int pending) { self->on_readable(socket, pending); }, &error);
  }
  if (error != 0) {
    if (socket->fd >= 0) ::close(socket->fd);
    return throw_errno(env, error, step);
  }
  auto free = std::find(sockets_.begin(), sockets_.end(), nullptr);
  socket->index = static_cast<uint32_t>(free - sockets_.begin());
  if (free == sockets_.end()) {
    sockets_.push_back(socket);
  } else {
    *free = socket;
  }
  in_.reserve(socket->batch);

  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "index", make_number(env, socket->index));
  set(env, result, "port", make_number(env, ntohs(socket->v6 ? bound.v6.sin6_port : bound.v4.sin_port)));
  set(env, result, "handle", wrap(env, socket));
  return result;
}

// ------------------------------------------------------------------------------------------------ receiving

void UdpArena::on_readable(const std::shared_ptr<UdpSocket>& socket, int error) {
  if (error == ECONNREFUSED) count_refused(*socket);
  for (uint32_t round = 0; round < rounds_ && socket->poller != nullptr; round++) {
    const int received = in_.receive(*socket, slots_);
    if (received < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // Any other is a pending error of the socket, cleared by having been told.
      if (errno == ECONNREFUSED) count_refused(*socket);
      continue;
    }
    const auto count = static_cast<uint32_t>(received);
    if (count == 0) return;
    for (uint32_t index = 0; index < count; index++) {
      if (!in_.decode(*socket, slots_, index)) counters_[kTruncated]++;
    }
    counters_[kReceivedCount] += count;
    counters_[kBatches]++;
    const uint32_t numbers[2] = {socket->index, count};
    const std::shared_ptr<Callback> callback = callback_;  // close() may let go of it meanwhile
    if (!callback->call(false, numbers, 2)) counters_[kCallbackErrors]++;
    if (closed_) return;
    flush();
    if (count < socket->batch) return;
  }
}

// ------------------------------------------------------------------------------------------------ sending

// Sends the listed pairs, grouped by socket in the order they were listed. Whatever stands there is checked: it is
// memory that JavaScript writes.
void UdpArena::flush() {
  const int32_t listed = control_[0];
  control_[0] = 0;
  if (listed == 0) return;
  if (listed < 0) {
    counters_[kSendErrors]++;
    return;
  }
  const uint32_t count = std::min(static_cast<uint32_t>(listed), most_sends_);
  counters_[kSendErrors] += static_cast<uint32_t>(listed) - count;
  touched_.clear();
  for (uint32_t pair = 0; pair < count; pair++) {
    const int32_t slot = sends_[pair * 2], number = sends_[pair * 2 + 1];
    UdpSocket* socket = nullptr;
    if (slot >= 0 && static_cast<uint32_t>(slot) < slots_.count && number >= 0 &&
        static_cast<size_t>(number) < sockets_.size()) {
      socket = sockets_[static_cast<size_t>(number)].get();
    }
    if (socket == nullptr) {
      counters_[kSendErrors]++;
      continue;
    }
    const auto here = static_cast<int32_t>(pair);
    slot_of_[pair] = slot;
    next_[pair] = -1;
    if (socket->first_listed < 0) {
      socket->first_listed = here;
      touched_.push_back(socket);
    } else {
      next_[static_cast<size_t>(socket->last_listed)] = here;
    }
    socket->last_listed = here;
  }
  int waits = kMostWaits;
  for (UdpSocket* socket : touched_) send_listed(*socket, &waits);
}

void UdpArena::send_listed(UdpSocket& socket, int* waits) {
  size_t filled = 0;
  for (int32_t pair = socket.first_listed; pair >= 0; pair = next_[static_cast<size_t>(pair)]) {
    const auto slot = static_cast<uint32_t>(slot_of_[static_cast<size_t>(pair)]);
    if (!out_.fill(socket, slots_, slot, filled)) {
      counters_[kSendErrors]++;
    } else if (++filled == out_.size()) {
      send_messages(socket, filled, waits);
      filled = 0;
    }
  }
  socket.first_listed = -1;
  socket.last_listed = -1;
  send_messages(socket, filled, waits);
}

void UdpArena::send_messages(UdpSocket& socket, size_t count, int* waits) {
  size_t done = 0;
  int refusals = 0;
  while (done < count) {
    const int sent = out_.send(socket, done, count);
    if (sent > 0) {
      counters_[kSent] += sent;
      done += static_cast<size_t>(sent);
      refusals = 0;
      continue;
    }
    const int error = sent < 0 ? errno : EIO;
    if (error == EINTR) continue;
    if (error == ECONNREFUSED) {
      // The ICMP error of an earlier datagram, told now in place of sending: this one was not tried yet.
      count_refused(socket);
      if (refusals++ < kMostRefusals) continue;
    }
    if ((error == EAGAIN || error == ENOBUFS) && *waits > 0) {
      (*waits)--;
      pollfd writable = {socket.fd, POLLOUT, 0};
      poll(&writable, 1, 1);
      continue;
    }
    counters_[kSendErrors]++;
    done++;
  }
}

void UdpArena::count_refused(UdpSocket& socket) {
  socket.refused++;
  counters_[kRefused]++;
}

// ------------------------------------------------------------------------------------------------ closing

void UdpArena::close_socket(UdpSocket& socket) {
  if (socket.poller == nullptr) return;
  in_.forget(socket);
  socket.poller->close();
  socket.poller = nullptr;
  socket.fd = -1;
  sockets_[socket.index] = nullptr;
}

void UdpArena::close() {
  if (closed_) return;
  closed_ = true;
  for (size_t index = 0; index < sockets_.size(); index++) {
    std::shared_ptr<UdpSocket> socket = sockets_[index];
    if (socket != nullptr) close_socket(*socket);
  }
  callback_.reset();
  addon_->remove(this);
}

// openUdpArena(options, onBatch) -> { handle, memory, meta, sends, control, counters }
napi_value open_udp_arena(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value on_batch = arguments.function(1);
  Arguments options = arguments.properties(0);
  if (!arguments.ok()) return arguments.fail();
  return UdpArena::open(env, options, on_batch);
}

// openUdpSocket(arena, options) -> { handle, index, port }; absent options are peerAddress "", fd -1, mark -1
napi_value open_udp_socket(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto arena = arguments.wrapped<UdpArena>(0);
  Arguments options = arguments.properties(1);
  if (!arguments.ok()) return arguments.fail();
  return arena->open_socket(env, options);
}

// flushUdpArena(arena)
napi_value flush_udp_arena(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto arena = arguments.wrapped<UdpArena>(0);
  if (!arguments.ok()) return arguments.fail();
  arena->flush();
  return nullptr;
}

// closeUdpArena(arena)
napi_value close_udp_arena(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto arena = arguments.wrapped<UdpArena>(0);
  if (!arguments.ok()) return arguments.fail();
  arena->close();
  return nullptr;
}

// udpSocketRefused(socket) -> number
napi_value udp_socket_refused(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto socket = arguments.wrapped<UdpSocket>(0);
  if (!arguments.ok()) return arguments.fail();
  return make_number(env, socket->refused);
}

// closeUdpSocket(socket)
napi_value close_udp_socket(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto socket = arguments.wrapped<UdpSocket>(0);
  if (!arguments.ok()) return arguments.fail();
  auto arena = socket->arena.lock();
  if (arena != nullptr) arena->close_socket(*socket);
  return nullptr;
}

}  // namespace tidesman
