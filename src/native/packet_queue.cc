// NFQUEUE over raw netlink: packets in by recvmmsg, one JavaScript call per batch, verdicts out in one sendto.
//
// The socket has NETLINK_NO_ENOBUFS: without it one overrun marks the socket congested, and the kernel then drops every
// message until all of the buffer was read; with it only the messages that do not fit are dropped. They are still
// counted exactly, by SO_MEMINFO (sk_drops), in fail-open mode too, where /proc/net/netfilter/nfnetlink_queue is silent.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "addon.h"
#include "binding.h"
#include "packet_message.h"

namespace tidesman {
namespace {

// Columns as in types.ts.
enum VerdictColumn { kCode, kSetMark, kVerdictMark, kVerdictStride };
enum Counter {
  kPackets, kBatches, kPending, kTruncated, kMalformed, kSendErrors, kVerdictErrors, kCallbackErrors, kCounters
};
constexpr uint32_t kPendingCode = 0xffffffff;
constexpr uint32_t kUndecided = 0xfffffffe;
// Room beside the payload: headers, NFQA_CT and the small attributes.
constexpr size_t kSlotOverhead = 1024;
// Batches read before the event loop gets a turn.
constexpr int kRounds = 4;
constexpr size_t kMostBatch = 1024;
constexpr size_t kMostCopyRange = 65531;

class PacketQueue : public Closable {
 public:
  static constexpr napi_type_tag kTag = {0x8a51b0d3c6e44f01, 0x9f2d7e60a1b35c01};

  explicit PacketQueue(uint16_t number) : number_(number), out_(number) {}
  static napi_value open(napi_env env, Arguments& options, napi_value on_batch);
  ~PacketQueue() override { release(); }
  // What JavaScript asks for: inside a callback it waits for the verdicts of that batch.
  void request_close();
  void close() override;
  void decide_held(uint32_t id, uint32_t code, bool set_mark, uint32_t mark);
  double overruns();

 private:
  int bind(bool fail_open, bool conntrack, uint32_t max_length, uint32_t copy_range);
  int configure(uint32_t flags, uint32_t max_length, uint32_t copy_range);
  void on_readable();
  bool read(size_t slot, uint32_t row);
  void deliver(uint32_t count);
  void send_verdicts(uint32_t count);
  void send();
  void release();

  Addon* addon_ = nullptr;
  int fd_ = -1;
  Poller* poller_ = nullptr;
  std::shared_ptr<Callback> callback_;
  uint16_t number_;
  uint32_t batch_ = 0;
  size_t slot_size_ = 0;
  uint32_t fail_verdict_ = NF_DROP;
  std::shared_ptr<void> slab_memory_, meta_memory_, verdict_memory_, counter_memory_;
  uint8_t* slab_ = nullptr;
  uint32_t* meta_ = nullptr;
  uint32_t* verdicts_ = nullptr;
  double* counters_ = nullptr;
  std::vector<mmsghdr> messages_;
  std::vector<iovec> vectors_;
  VerdictBuffer out_;
  // Exactly the ids that wait: a batch verdict decides all older ids, so it is allowed only when this is empty.
  std::unordered_set<uint32_t> held_;
  uint32_t last_id_ = 0;
  uint32_t rows_in_callback_ = 0;
  bool close_requested_ = false;
  double last_overruns_ = 0;
};

constexpr napi_type_tag PacketQueue::kTag;

bool valid_code(uint32_t code) { return code == NF_DROP || code == NF_ACCEPT || code == NF_REPEAT; }

napi_value PacketQueue::open(napi_env env, Arguments& options, napi_value on_batch) {
  const int64_t number = options.number("queue"), copy_range = options.number("copyRange");
  const int64_t max_length = options.number("maxLength"), batch = options.number("batch");
  const int64_t receive_buffer = options.number("receiveBuffer"), fail_verdict = options.number("failVerdict");
  const bool fail_open = options.boolean("failOpen");
  bool conntrack = options.boolean("conntrack");
  if (!options.ok() || number < 0 || number > UINT16_MAX || copy_range < 1 ||
      copy_range > static_cast<int64_t>(kMostCopyRange) || max_length < 1 || max_length > INT32_MAX || batch < 1 ||
      batch > static_cast<int64_t>(kMostBatch) || receive_buffer < 1 || receive_buffer > INT32_MAX ||
      (fail_verdict != NF_DROP && fail_verdict != NF_ACCEPT)) {
    return options.fail();
  }
  auto queue = std::make_shared<PacketQueue>(static_cast<uint16_t>(number));
  queue->addon_ = Addon::of(env);
  queue->batch_ = static_cast<uint32_t>(batch);
  queue->fail_verdict_ = static_cast<uint32_t>(fail_verdict);
  queue->slot_size_ = (static_cast<size_t>(copy_range) + kSlotOverhead + 63) & ~size_t{63};
  const size_t slab_size = queue->slot_size_ * queue->batch_;
  queue->slab_memory_ = allocate(slab_size);
  queue->meta_memory_ = allocate(queue->batch_ * kPacketStride * sizeof(uint32_t));
  queue->verdict_memory_ = allocate(queue->batch_ * kVerdictStride * sizeof(uint32_t));
  queue->counter_memory_ = allocate(kCounters * sizeof(double));
  if (!queue->slab_memory_ || !queue->meta_memory_ || !queue->verdict_memory_ || !queue->counter_memory_) {
    return throw_errno(env, ENOMEM, "packet queue memory");
  }
  queue->slab_ = static_cast<uint8_t*>(queue->slab_memory_.get());
  queue->meta_ = static_cast<uint32_t*>(queue->meta_memory_.get());
  queue->verdicts_ = static_cast<uint32_t*>(queue->verdict_memory_.get());
  queue->counters_ = static_cast<double*>(queue->counter_memory_.get());
  queue->messages_.resize(queue->batch_);
  queue->vectors_.resize(queue->batch_);
  queue->out_.reserve(queue->batch_);
  for (size_t slot = 0; slot < queue->batch_; slot++) {
    queue->vectors_[slot] = {queue->slab_ + slot * queue->slot_size_, queue->slot_size_};
    queue->messages_[slot].msg_hdr.msg_iov = &queue->vectors_[slot];
    queue->messages_[slot].msg_hdr.msg_iovlen = 1;
  }

  queue->fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
  if (queue->fd_ < 0) return throw_errno(env, errno, "netlink socket");
  int size = static_cast<int>(receive_buffer), on = 1;
  if (setsockopt(queue->fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) {
    setsockopt(queue->fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  setsockopt(queue->fd_, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
  setsockopt(queue->fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  queue->callback_ = std::make_shared<Callback>(env, on_batch, "TidesmanPacketQueue");
  int error = queue->bind(fail_open, conntrack, static_cast<uint32_t>(max_length), static_cast<uint32_t>(copy_range));
  if (error == EOPNOTSUPP && conntrack) {
    conntrack = false;
    error = queue->bind(fail_open, false, static_cast<uint32_t>(max_length), static_cast<uint32_t>(copy_range));
  }
  if (error != 0) return throw_errno(env, error, "bind queue");
  queue->poller_ = Poller::open(queue->addon_, queue->fd_, [queue](int) { queue->on_readable(); }, &error);
  if (queue->poller_ == nullptr) return throw_errno(env, error, "poll queue");
  queue->addon_->add(queue.get());

  napi_value result = nullptr, agreed = nullptr;
  napi_create_object(env, &result);
  set(env, result, "slab", expose(env, queue->slab_memory_, slab_size, napi_uint8_array));
  set(env, result, "meta", expose(env, queue->meta_memory_, queue->batch_ * kPacketStride, napi_uint32_array));
  set(env, result, "verdicts", expose(env, queue->verdict_memory_, queue->batch_ * kVerdictStride, napi_uint32_array));
  set(env, result, "counters", expose(env, queue->counter_memory_, kCounters, napi_float64_array));
  napi_get_boolean(env, conntrack, &agreed);
  set(env, result, "conntrack", agreed);
  set(env, result, "handle", wrap(env, queue));
  return result;
}

int PacketQueue::bind(bool fail_open, bool conntrack, uint32_t max_length, uint32_t copy_range) {
  const uint32_t flags = (fail_open ? NFQA_CFG_F_FAIL_OPEN : 0u) | (conntrack ? NFQA_CFG_F_CONNTRACK : 0u);
  int error = configure(flags, max_length, copy_range);
  // The kernel loaded nf_conntrack_netlink just now and wants to be asked again.
  return error == EAGAIN ? configure(flags, max_length, copy_range) : error;
}

// Everything in ONE message, which the kernel applies whole or not at all (nfqnl_recv_config): the queue never exists
// with half its settings. No acknowledgement is asked for: netlink requests are worked off inside sendto, so when it
// returns, an error already stands in our buffer, and without one nothing but packets can. Those stay where they are.
int PacketQueue::configure(uint32_t flags, uint32_t max_length, uint32_t copy_range) {
  Request request = Request::netfilter(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, 0, AF_UNSPEC, number_);
  nfqnl_msg_config_cmd command = {};  // u8 command, u8 padding, be16 protocol family (unused)
  command.command = NFQNL_CFG_CMD_BIND;
  request.attribute(NFQA_CFG_CMD, &command, sizeof command);
  const uint32_t range = htonl(copy_range);
  uint8_t params[5];  // be32 copy range, u8 copy mode
  memcpy(params, &range, sizeof range);
  params[4] = NFQNL_COPY_PACKET;
  request.attribute(NFQA_CFG_PARAMS, params, sizeof params);
  request.be32(NFQA_CFG_QUEUE_MAXLEN, max_length);
  request.be32(NFQA_CFG_MASK, NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_CONNTRACK | NFQA_CFG_F_GSO);
  request.be32(NFQA_CFG_FLAGS, flags);
  const std::vector<uint8_t>& bytes = request.finish(1);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) < 0) {
    return errno;
  }
  struct {
    nlmsghdr header;
    int error;
  } answer = {};
  ssize_t length = recv(fd_, &answer, sizeof answer, MSG_PEEK | MSG_DONTWAIT);
  if (length < static_cast<ssize_t>(sizeof answer) || answer.header.nlmsg_type != NLMSG_ERROR) return 0;
  recv(fd_, &answer, sizeof answer, MSG_DONTWAIT);
  return -answer.error;
}

void PacketQueue::on_readable() {
  for (int round = 0; round < kRounds && poller_ != nullptr; round++) {
    int received = recvmmsg(fd_, messages_.data(), batch_, MSG_DONTWAIT, nullptr);
    if (received < 0) {
      if (errno == EINTR || errno == ENOBUFS) continue;
      return;
    }
    uint32_t count = 0;
    for (int slot = 0; slot < received; slot++) {
      if (read(static_cast<size_t>(slot), count)) count++;
    }
    if (count > 0) deliver(count);
    if (static_cast<uint32_t>(received) < batch_) return;
  }
}

// Fills `row` from the message in `slot`. False when there is no packet to decide in it.
bool PacketQueue::read(size_t slot, uint32_t row) {
  const bool cut = (messages_[slot].msg_hdr.msg_flags & MSG_TRUNC) != 0;
  const size_t length = std::min<size_t>(messages_[slot].msg_len, slot_size_);
  if (cut) counters_[kTruncated]++;
  switch (read_packet(slab_, slot * slot_size_, length, cut, meta_ + row * kPacketStride)) {
    case PacketMessage::kPacket: return true;
    case PacketMessage::kRefusal: counters_[kVerdictErrors]++; break;
    case PacketMessage::kMalformed: counters_[kMalformed]++; break;
    case PacketMessage::kNothing: break;
  }
  return false;
}

void PacketQueue::deliver(uint32_t count) {
  counters_[kPackets] += count;
  counters_[kBatches]++;
  last_id_ = meta_[(count - 1) * kPacketStride + kId];
  for (uint32_t row = 0; row < count; row++) {
    uint32_t* verdict = verdicts_ + row * kVerdictStride;
    verdict[kCode] = kUndecided;
    verdict[kSetMark] = 0;
    verdict[kVerdictMark] = 0;
  }
  rows_in_callback_ = count;
  const std::shared_ptr<Callback> callback = callback_;  // close() may let go of it meanwhile
  const bool returned = callback->call(false, &count, 1);
  rows_in_callback_ = 0;
  if (poller_ == nullptr) return;  // the environment ended meanwhile; close() has decided everything
  if (!returned) {
    counters_[kCallbackErrors]++;
    for (uint32_t row = 0; row < count; row++) {
      uint32_t* code = verdicts_ + row * kVerdictStride + kCode;
      if (*code == kPendingCode) *code = kUndecided;
    }
  }
  send_verdicts(count);
  if (close_requested_) close();
}

void PacketQueue::send_verdicts(uint32_t count) {
  for (uint32_t row = 0; row < count; row++) {
    uint32_t* verdict = verdicts_ + row * kVerdictStride;
    if (verdict[kCode] == kPendingCode || valid_code(verdict[kCode])) continue;
    if (verdict[kCode] != kUndecided) counters_[kVerdictErrors]++;
    verdict[kCode] = fail_verdict_;
    verdict[kSetMark] = 0;
  }
  for (uint32_t row = 0; row < count;) {
    const uint32_t* verdict = verdicts_ + row * kVerdictStride;
    uint32_t last = row;
    if (verdict[kCode] == kPendingCode) {
      held_.insert(meta_[row * kPacketStride + kId]);
    } else {
      if (held_.empty()) {
        while (last + 1 < count &&
               memcmp(verdicts_ + (last + 1) * kVerdictStride, verdict, kVerdictStride * sizeof *verdict) == 0) {
          last++;
        }
      }
      out_.append(last > row, meta_[last * kPacketStride + kId], verdict[kCode], verdict[kSetMark] != 0,
                  verdict[kVerdictMark]);
    }
    row = last + 1;
  }
  counters_[kPending] = static_cast<double>(held_.size());
  send();
}

void PacketQueue::send() { counters_[kSendErrors] += static_cast<double>(out_.send(fd_)); }

void PacketQueue::decide_held(uint32_t id, uint32_t code, bool set_mark, uint32_t mark) {
  if (poller_ == nullptr) return;
  if (!valid_code(code)) {
    counters_[kVerdictErrors]++;
    return;
  }
  if (held_.erase(id) != 0) {
    counters_[kPending] = static_cast<double>(held_.size());
    out_.append(false, id, code, set_mark, mark);
    send();
    return;
  }
  // Already known a moment after the callback said PENDING, in a microtask that runs behind it.
  for (uint32_t row = 0; row < rows_in_callback_; row++) {
    uint32_t* verdict = verdicts_ + row * kVerdictStride;
    if (meta_[row * kPacketStride + kId] != id || verdict[kCode] != kPendingCode) continue;
    verdict[kCode] = code;
    verdict[kSetMark] = set_mark ? 1 : 0;
    verdict[kVerdictMark] = mark;
    return;
  }
  counters_[kVerdictErrors]++;
}

double PacketQueue::overruns() {
  if (fd_ >= 0) {
    uint32_t info[SK_MEMINFO_VARS] = {};
    socklen_t length = sizeof info;
    if (getsockopt(fd_, SOL_SOCKET, SO_MEMINFO, info, &length) == 0) last_overruns_ = info[SK_MEMINFO_DROPS];
  }
  return last_overruns_;
}

void PacketQueue::request_close() {
  if (rows_in_callback_ > 0) {
    close_requested_ = true;
  } else {
    close();
  }
}

void PacketQueue::close() {
  if (poller_ == nullptr) return;
  overruns();
  // Closing the socket drops what is queued, also in open mode. One batch verdict with an id ahead of all others decides
  // it by failVerdict instead: packets held, and packets that we have not read.
  out_.append(true, last_id_ + 0x3fffffff, fail_verdict_, false, 0);
  send();
  held_.clear();
  counters_[kPending] = 0;
  poller_->close();  // closes fd_, and drops the event loop's share of this object a turn later
  poller_ = nullptr;
  fd_ = -1;
  callback_.reset();
  addon_->remove(this);
}

// For a queue that never came to be.
void PacketQueue::release() {
  if (poller_ == nullptr && fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

}  // namespace

// openPacketQueue(options, onBatch) -> { handle, slab, meta, verdicts, counters, conntrack }
napi_value open_packet_queue(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value on_batch = arguments.function(1);
  Arguments options = arguments.properties(0);
  if (!arguments.ok()) return arguments.fail();
  return PacketQueue::open(env, options, on_batch);
}

// packetQueueVerdict(handle, id, code, setMark, mark)
napi_value packet_queue_verdict(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto queue = arguments.wrapped<PacketQueue>(0);
  const uint32_t id = arguments.number(1), code = arguments.number(2);
  const bool set_mark = arguments.boolean(3);
  const uint32_t mark = arguments.number(4);
  if (!arguments.ok()) return arguments.fail();
  queue->decide_held(id, code, set_mark, mark);
  return nullptr;
}

// packetQueueOverruns(handle) -> number
napi_value packet_queue_overruns(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto queue = arguments.wrapped<PacketQueue>(0);
  if (!arguments.ok()) return arguments.fail();
  return make_number(env, queue->overruns());
}

// closePacketQueue(handle)
napi_value close_packet_queue(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto queue = arguments.wrapped<PacketQueue>(0);
  if (!arguments.ok()) return arguments.fail();
  queue->request_close();
  return nullptr;
}

}  // namespace tidesman
