// UDP in batches over one arena of memory: recvmmsg into slots, one JavaScript call, sendmmsg of what it listed.
// The reply leaves from the address that was asked (IP_PKTINFO, IPV6_PKTINFO); where the peer or we are link-local also
// by the interface that was asked.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

// Columns as in types.ts.
enum SlotColumn {
  kReceived, kLength, kFamily, kPeerPort, kPeerAddress, kPeerScope = 8, kInterface, kLocalAddress, kSlotStride = 16
};
enum Counter { kReceivedCount, kSent, kBatches, kTruncated, kSendErrors, kRefused, kCallbackErrors, kCounters };
constexpr size_t kControlCells = 16;
// Messages per sendmmsg, and how often one flush waits a millisecond for a full send buffer.
constexpr size_t kSendChunk = 256;
constexpr int kMostWaits = 3;

// Room for one in6_pktinfo (20 bytes) or in_pktinfo (12 bytes) behind its cmsghdr.
union Control {
  cmsghdr alignment;
  uint8_t bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
};

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// Buffers for recvmmsg or sendmmsg.
struct Messages {
  std::vector<mmsghdr> headers;
  std::vector<iovec> vectors;
  std::vector<Address> names;
  std::vector<Control> controls;
  void resize(size_t count) {
    headers.resize(count);
    vectors.resize(count);
    names.resize(count);
    controls.resize(count);
  }
};

class UdpArena;

struct UdpSocket {
  static constexpr napi_type_tag kTag = {0x8a51b0d3c6e44f02, 0x9f2d7e60a1b35c02};
  std::weak_ptr<UdpArena> arena;
  uint32_t index = 0;
  int fd = -1;
  Poller* poller = nullptr;
  bool v6 = false;
  bool connected = false;
  Address peer = {};
  uint32_t first_slot = 0;
  uint32_t batch = 0;
  double refused = 0;
  // Slots listed for this socket in the flush under way: indexes into `UdpArena::next_`.
  int32_t first_listed = -1;
  int32_t last_listed = -1;
};
constexpr napi_type_tag UdpSocket::kTag;

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
  void prepare(const UdpSocket& socket);
  void decode(const UdpSocket& socket, uint32_t index);
  void send_listed(UdpSocket& socket, int* waits);
  void send_messages(UdpSocket& socket, size_t count, int* waits);
  bool fill(const UdpSocket& socket, int32_t slot, size_t index);
  void count_refused(UdpSocket& socket);

  Addon* addon_ = nullptr;
  std::shared_ptr<Callback> callback_;
  uint32_t slots_ = 0, slot_size_ = 0, most_sends_ = 0, rounds_ = 0;
  std::shared_ptr<void> slab_memory_, meta_memory_, send_memory_, control_memory_, counter_memory_;
  uint8_t* slab_ = nullptr;
  int32_t* meta_ = nullptr;
  int32_t* sends_ = nullptr;
  int32_t* control_ = nullptr;
  double* counters_ = nullptr;
  std::vector<std::shared_ptr<UdpSocket>> sockets_;
  Messages in_, out_;
  // The socket that `in_` is set up for: several batches in a row of one socket need only what the kernel overwrote.
  const UdpSocket* prepared_ = nullptr;
  std::vector<int32_t> next_, slot_of_;
  std::vector<UdpSocket*> touched_;
  bool closed_ = false;
};
constexpr napi_type_tag UdpArena::kTag;

// ADDRESS or, on IPv6, ADDRESS%ZONE with an interface's name or index. False when it is none of the family.
bool parse_address(const std::string& text, uint32_t port, bool v6, Address* address) {
  *address = {};
  if (!v6) {
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(static_cast<uint16_t>(port));
    return inet_pton(AF_INET, text.c_str(), &address->v4.sin_addr) == 1;
  }
  const size_t percent = text.find('%');
  address->v6.sin6_family = AF_INET6;
  address->v6.sin6_port = htons(static_cast<uint16_t>(port));
  if (percent != std::string::npos) {
    const std::string zone = text.substr(percent + 1);
    address->v6.sin6_scope_id = if_nametoindex(zone.c_str());
    if (address->v6.sin6_scope_id == 0) address->v6.sin6_scope_id = static_cast<uint32_t>(atoi(zone.c_str()));
  }
  return inet_pton(AF_INET6, text.substr(0, percent).c_str(), &address->v6.sin6_addr) == 1;
}

socklen_t address_size(bool v6) { return v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }

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
  arena->slots_ = static_cast<uint32_t>(slots);
  arena->slot_size_ = static_cast<uint32_t>(slot_size);
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
  arena->slab_ = static_cast<uint8_t*>(arena->slab_memory_.get());
  arena->meta_ = static_cast<int32_t*>(arena->meta_memory_.get());
  arena->sends_ = static_cast<int32_t*>(arena->send_memory_.get());
  arena->control_ = static_cast<int32_t*>(arena->control_memory_.get());
  arena->counters_ = static_cast<double*>(arena->counter_memory_.get());
  arena->next_.resize(arena->most_sends_);
  arena->slot_of_.resize(arena->most_sends_);
  arena->out_.resize(std::min<size_t>(arena->most_sends_, kSendChunk));
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

// A new socket, bound and perhaps connected, or a duplicate of `adopted`. Returns an errno and the step that failed.
int make_socket(UdpSocket& socket, Arguments& options, int64_t adopted, const Address& local, std::string* step) {
  const int family = socket.v6 ? AF_INET6 : AF_INET;
  int on = 1;
  if (adopted >= 0) {
    *step = "adopt descriptor";
    socket.fd = fcntl(static_cast<int>(adopted), F_DUPFD_CLOEXEC, 3);
    if (socket.fd < 0) return errno;
    int type = 0, domain = 0;
    socklen_t length = sizeof type;
    if (getsockopt(socket.fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return errno;
    length = sizeof domain;
    if (getsockopt(socket.fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return errno;
    if (type != SOCK_DGRAM) return EPROTOTYPE;
    if (domain != family) return EAFNOSUPPORT;
  } else {
    *step = "socket";
    socket.fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket.fd < 0) return errno;
  }
  *step = "option";
  if (socket.v6) {
    if (adopted < 0 && setsockopt(socket.fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) return errno;
    if (setsockopt(socket.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) != 0) return errno;
  } else if (setsockopt(socket.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0) {
    return errno;
  }
  int size = static_cast<int>(options.number("buffer"));
  if (setsockopt(socket.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) {
    setsockopt(socket.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  if (setsockopt(socket.fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
    setsockopt(socket.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  const int64_t mark = options.number("mark");
  if (mark >= 0) {
    *step = "mark";
    auto value = static_cast<uint32_t>(mark);
    if (setsockopt(socket.fd, SOL_SOCKET, SO_MARK, &value, sizeof value) != 0) return errno;
  }
  if (adopted < 0) {
    *step = "bind";
    if (options.boolean("reusePort") && setsockopt(socket.fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
      return errno;
    }
    if (bind(socket.fd, &local.any, address_size(socket.v6)) != 0) return errno;
  }
  if (socket.connected) {
    *step = "connect";
    if (connect(socket.fd, &socket.peer.any, address_size(socket.v6)) != 0) return errno;
  }
  return 0;
}

napi_value UdpArena::open_socket(napi_env env, Arguments& options) {
  if (closed_) return throw_errno(env, EBADF, "arena");
  auto socket = std::make_shared<UdpSocket>();
  socket->arena = weak_from_this();
  const int64_t family = options.number("family"), port = options.number("port");
  const int64_t peer_port = options.number("peerPort"), first_slot = options.number("firstSlot");
  const int64_t batch = options.number("batch"), adopted = options.number("fd"), buffer = options.number("buffer");
  const std::string address = options.text("address"), peer = options.text("peerAddress");
  socket->v6 = family == 6;
  socket->connected = !peer.empty();
  Address local = {};
  if (!options.ok() || (family != 4 && family != 6) || port < 0 || port > UINT16_MAX || peer_port < 0 ||
      peer_port > UINT16_MAX || batch < 1 || batch > 1024 || first_slot < 0 || first_slot + batch > slots_ ||
      adopted > INT32_MAX || buffer < 1 || buffer > INT32_MAX ||
      !parse_address(address, static_cast<uint32_t>(port), socket->v6, &local) ||
      (socket->connected && !parse_address(peer, static_cast<uint32_t>(peer_port), socket->v6, &socket->peer))) {
    return options.fail();
  }
  socket->first_slot = static_cast<uint32_t>(first_slot);
  socket->batch = static_cast<uint32_t>(batch);
  // An index may be used again from here on: what is listed for its former owner leaves first.
  flush();

  std::string step;
  int error = make_socket(*socket, options, adopted, local, &step);
  Address bound = {};
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
  if (in_.headers.size() < socket->batch) in_.resize(socket->batch);
  prepared_ = nullptr;

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
    prepare(*socket);
    int received = recvmmsg(socket->fd, in_.headers.data(), socket->batch, MSG_DONTWAIT, nullptr);
    if (received < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      // Any other is a pending error of the socket, cleared by having been told.
      if (errno == ECONNREFUSED) count_refused(*socket);
      continue;
    }
    const auto count = static_cast<uint32_t>(received);
    if (count == 0) return;
    for (uint32_t index = 0; index < count; index++) decode(*socket, index);
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

void UdpArena::prepare(const UdpSocket& socket) {
  if (prepared_ == &socket) return;
  prepared_ = &socket;
  for (uint32_t index = 0; index < socket.batch; index++) {
    in_.vectors[index] = {slab_ + static_cast<size_t>(socket.first_slot + index) * slot_size_, slot_size_};
    msghdr& header = in_.headers[index].msg_hdr;
    header = {};
    header.msg_iov = &in_.vectors[index];
    header.msg_iovlen = 1;
    if (socket.connected) continue;
    header.msg_name = &in_.names[index];
    header.msg_namelen = sizeof in_.names[index];
    header.msg_control = &in_.controls[index];
    header.msg_controllen = sizeof in_.controls[index];
  }
}

// Writes the slot's row from what recvmmsg left, and makes the header ready for the next call.
void UdpArena::decode(const UdpSocket& socket, uint32_t index) {
  msghdr& header = in_.headers[index].msg_hdr;
  int32_t* row = meta_ + static_cast<size_t>(socket.first_slot + index) * kSlotStride;
  memset(row, 0, kSlotStride * sizeof *row);
  row[kFamily] = socket.v6 ? 6 : 4;
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    counters_[kTruncated]++;
  } else {
    row[kReceived] = static_cast<int32_t>(in_.headers[index].msg_len);
  }
  const Address& peer = socket.connected ? socket.peer : in_.names[index];
  if (socket.v6) {
    row[kPeerPort] = ntohs(peer.v6.sin6_port);
    memcpy(&row[kPeerAddress], &peer.v6.sin6_addr, sizeof peer.v6.sin6_addr);
    row[kPeerScope] = static_cast<int32_t>(peer.v6.sin6_scope_id);
  } else {
    row[kPeerPort] = ntohs(peer.v4.sin_port);
    memcpy(&row[kPeerAddress], &peer.v4.sin_addr, sizeof peer.v4.sin_addr);
  }
  if (socket.connected) return;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO &&
        control->cmsg_len >= CMSG_LEN(sizeof(in_pktinfo))) {
      in_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      row[kInterface] = info.ipi_ifindex;
      // Of a unicast datagram this is its destination, of a broadcast one the address that may answer.
      memcpy(&row[kLocalAddress], &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO &&
               control->cmsg_len >= CMSG_LEN(sizeof(in6_pktinfo))) {
      in6_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      row[kInterface] = static_cast<int32_t>(info.ipi6_ifindex);
      memcpy(&row[kLocalAddress], &info.ipi6_addr, sizeof info.ipi6_addr);
    }
  }
  header.msg_namelen = sizeof in_.names[index];
  header.msg_controllen = sizeof in_.controls[index];
  header.msg_flags = 0;
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
    if (slot >= 0 && static_cast<uint32_t>(slot) < slots_ && number >= 0 &&
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
    if (!fill(socket, slot_of_[static_cast<size_t>(pair)], filled)) {
      counters_[kSendErrors]++;
    } else if (++filled == out_.headers.size()) {
      send_messages(socket, filled, waits);
      filled = 0;
    }
  }
  socket.first_listed = -1;
  socket.last_listed = -1;
  send_messages(socket, filled, waits);
}

// Sets up message `index` from `slot`. False when length, family or port cannot be sent.
bool UdpArena::fill(const UdpSocket& socket, int32_t slot, size_t index) {
  const int32_t* row = meta_ + static_cast<size_t>(slot) * kSlotStride;
  const int32_t length = row[kLength];
  if (length < 1 || static_cast<uint32_t>(length) > slot_size_) return false;
  msghdr& header = out_.headers[index].msg_hdr;
  header = {};
  out_.vectors[index] = {slab_ + static_cast<size_t>(slot) * slot_size_, static_cast<size_t>(length)};
  header.msg_iov = &out_.vectors[index];
  header.msg_iovlen = 1;
  if (socket.connected) return true;
  const int32_t port = row[kPeerPort];
  if (row[kFamily] != (socket.v6 ? 6 : 4) || port < 1 || port > UINT16_MAX) return false;
  Address& name = out_.names[index];
  name = {};
  header.msg_name = &name;
  header.msg_namelen = address_size(socket.v6);
  Control& control = out_.controls[index];
  memset(&control, 0, sizeof control);
  control.alignment.cmsg_level = socket.v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  control.alignment.cmsg_type = socket.v6 ? IPV6_PKTINFO : IP_PKTINFO;
  if (!socket.v6) {
    name.v4.sin_family = AF_INET;
    name.v4.sin_port = htons(static_cast<uint16_t>(port));
    memcpy(&name.v4.sin_addr, &row[kPeerAddress], sizeof name.v4.sin_addr);
    in_pktinfo info = {};
    memcpy(&info.ipi_spec_dst, &row[kLocalAddress], sizeof info.ipi_spec_dst);
    if (info.ipi_spec_dst.s_addr == INADDR_ANY) return true;
    control.alignment.cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(&control.alignment), &info, sizeof info);
    header.msg_controllen = CMSG_SPACE(sizeof info);
  } else {
    name.v6.sin6_family = AF_INET6;
    name.v6.sin6_port = htons(static_cast<uint16_t>(port));
    memcpy(&name.v6.sin6_addr, &row[kPeerAddress], sizeof name.v6.sin6_addr);
    name.v6.sin6_scope_id = static_cast<uint32_t>(row[kPeerScope]);
    in6_pktinfo info = {};
    memcpy(&info.ipi6_addr, &row[kLocalAddress], sizeof info.ipi6_addr);
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) || IN6_IS_ADDR_LINKLOCAL(&name.v6.sin6_addr)) {
      info.ipi6_ifindex = static_cast<unsigned>(row[kInterface]);
    }
    // A group can be asked, but cannot answer: the kernel then chooses the address.
    if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) info.ipi6_addr = in6addr_any;
    if (IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr) && info.ipi6_ifindex == 0) return true;
    control.alignment.cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(&control.alignment), &info, sizeof info);
    header.msg_controllen = CMSG_SPACE(sizeof info);
  }
  header.msg_control = &control;
  return true;
}

void UdpArena::send_messages(UdpSocket& socket, size_t count, int* waits) {
  size_t done = 0;
  int refusals = 0;
  while (done < count) {
    int sent = sendmmsg(socket.fd, &out_.headers[done], static_cast<unsigned>(count - done), MSG_DONTWAIT);
    if (sent > 0) {
      counters_[kSent] += sent;
      done += static_cast<size_t>(sent);
      refusals = 0;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == ECONNREFUSED && refusals++ < 2) {
      // The ICMP error of an earlier datagram, told now in place of sending: this one was not tried yet.
      count_refused(socket);
      continue;
    }
    if ((errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) && *waits > 0) {
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
  if (prepared_ == &socket) prepared_ = nullptr;
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

}  // namespace

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
