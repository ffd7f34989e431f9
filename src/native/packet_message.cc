// net/netfilter/nfnetlink_queue.c. A packet (nfqnl_build_packet_message), one per datagram:
//   nlmsghdr (16)  nfgenmsg (4)  NFQA_PACKET_HDR first: be32 id, be16 EtherType, u8 hook; then attributes in any order,
//   NFQA_PAYLOAD last.
// A verdict (nfqnl_recv_verdict, nfqnl_recv_verdict_batch):
//   nlmsghdr (16)  nfgenmsg (4)  NFQA_VERDICT_HDR: be32 verdict, be32 id  [NFQA_MARK: be32]
#include "packet_message.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"

namespace tidesman {
namespace {

struct Verdict {
  nlmsghdr header;
  nfgenmsg generic;
  nlattr verdict_header;
  nfqnl_msg_verdict_hdr verdict;
  nlattr mark_header;
  uint32_t mark;
};
constexpr size_t kWithoutMark = offsetof(Verdict, mark_header);
static_assert(kWithoutMark == 32 && sizeof(Verdict) == 40, "wire layout");

// What can pass (no memory for the message) is tried again, so often.
constexpr int kMostAttempts = 8;

}  // namespace

PacketMessage read_packet(const uint8_t* slab, size_t start, size_t length, bool cut, uint32_t* row) {
  constexpr size_t kHeaders = NLMSG_ALIGN(sizeof(nlmsghdr) + sizeof(nfgenmsg));
  if (length < kHeaders) return PacketMessage::kMalformed;
  const uint8_t* message = slab + start;
  nlmsghdr header;
  memcpy(&header, message, sizeof header);
  if (header.nlmsg_type == NLMSG_ERROR) {  // i32: 0 or a negative errno
    int error = 0;
    memcpy(&error, message + NLMSG_HDRLEN, sizeof error);
    return error == 0 ? PacketMessage::kNothing : PacketMessage::kRefusal;
  }
  if (header.nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)) return PacketMessage::kMalformed;
  if (header.nlmsg_len < kHeaders) return PacketMessage::kMalformed;
  if (header.nlmsg_len < length) length = header.nlmsg_len;

  memset(row, 0, kPacketStride * sizeof *row);
  row[kConntrackInfo] = 0xffffffff;
  bool has_id = false;
  AttributeReader reader(message + kHeaders, length - kHeaders);
  Attribute attribute;
  while (reader.next(&attribute, cut)) {
    const auto offset = static_cast<uint32_t>(attribute.data - slab);
    switch (attribute.type) {
      case NFQA_PACKET_HDR:
        if (attribute.length < 7) break;
        row[kId] = attribute.be32();
        row[kProtocol] = static_cast<uint32_t>(attribute.data[4] << 8 | attribute.data[5]);
        row[kHook] = attribute.data[6];
        has_id = true;
        break;
      case NFQA_MARK: row[kMark] = attribute.be32(); break;
      case NFQA_IFINDEX_INDEV: row[kInDevice] = attribute.be32(); break;
      case NFQA_IFINDEX_OUTDEV: row[kOutDevice] = attribute.be32(); break;
      case NFQA_IFINDEX_PHYSINDEV: row[kPhysInDevice] = attribute.be32(); break;
      case NFQA_IFINDEX_PHYSOUTDEV: row[kPhysOutDevice] = attribute.be32(); break;
      case NFQA_SKB_INFO: row[kSkbInfo] = attribute.be32(); break;
      case NFQA_CAP_LEN: row[kLength] = attribute.be32(); break;
      case NFQA_CT_INFO: row[kConntrackInfo] = attribute.be32(); break;
      case NFQA_CT:
        row[kConntrackOffset] = offset;
        row[kConntrackLength] = static_cast<uint32_t>(attribute.length);
        break;
      case NFQA_PAYLOAD:
        row[kOffset] = offset;
        row[kCaptured] = static_cast<uint32_t>(attribute.length);
        break;
      default: break;
    }
  }
  // NFQA_CAP_LEN is sent only when the packet is longer than what was copied.
  if (row[kLength] < row[kCaptured]) row[kLength] = row[kCaptured];
  return has_id ? PacketMessage::kPacket : PacketMessage::kMalformed;
}

void VerdictBuffer::reserve(size_t verdicts) { bytes_.reserve(verdicts * sizeof(Verdict)); }

void VerdictBuffer::append(bool batch, uint32_t id, uint32_t code, bool set_mark, uint32_t mark) {
  Verdict message = {};
  const size_t length = set_mark ? sizeof message : kWithoutMark;
  message.header.nlmsg_len = static_cast<uint32_t>(length);
  message.header.nlmsg_type =
      static_cast<uint16_t>(NFNL_SUBSYS_QUEUE << 8 | (batch ? NFQNL_MSG_VERDICT_BATCH : NFQNL_MSG_VERDICT));
  message.header.nlmsg_flags = NLM_F_REQUEST;
  message.generic.version = NFNETLINK_V0;
  message.generic.res_id = htons(queue_);
  message.verdict_header = {NLA_HDRLEN + sizeof message.verdict, NFQA_VERDICT_HDR};
  message.verdict = {htonl(code), htonl(id)};
  message.mark_header = {NLA_HDRLEN + sizeof message.mark, NFQA_MARK};
  message.mark = htonl(mark);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&message);
  bytes_.insert(bytes_.end(), bytes, bytes + length);
  count_++;
}

size_t VerdictBuffer::send(int fd) {
  if (count_ == 0) return 0;
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  size_t failed = 0;
  // A verdict that does not arrive would leave its packets in the kernel for ever.
  for (int attempt = 1;; attempt++) {
    if (sendto(fd, bytes_.data(), bytes_.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) >= 0) break;
    const bool passing = errno == EINTR || errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM;
    if (passing && attempt < kMostAttempts) continue;
    failed = count_;
    break;
  }
  bytes_.clear();
  count_ = 0;
  return failed;
}

}  // namespace tidesman
