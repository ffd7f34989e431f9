// The two messages of nfnetlink_queue that matter while packets flow: a packet of the kernel, a verdict of ours.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace tidesman {

// Columns of a row of `PacketQueue.meta`, as in types.ts.
enum PacketColumn {
  kId, kProtocol, kHook, kMark, kInDevice, kOutDevice, kPhysInDevice, kPhysOutDevice, kOffset, kCaptured, kLength,
  kConntrackInfo, kConntrackOffset, kConntrackLength, kSkbInfo, kPacketStride = 16
};

enum class PacketMessage {
  kPacket,
  // A request of ours failed: a verdict on an id that is gone.
  kRefusal,
  // The acknowledgement of a request that did not.
  kNothing,
  // Not a packet, or one without an id to answer to.
  kMalformed,
};

// Reads the `length` bytes at `slab[start]` into `row`. `cut`: the message was longer than its slot; what is there of it
// is given.
PacketMessage read_packet(const uint8_t* slab, size_t start, size_t length, bool cut, uint32_t* row);

// Verdicts that leave together.
class VerdictBuffer {
 public:
  explicit VerdictBuffer(uint16_t queue) : queue_(queue) {}
  void reserve(size_t verdicts);
  // `batch`: the verdict is for `id` and every older one that is undecided.
  void append(bool batch, uint32_t id, uint32_t code, bool set_mark, uint32_t mark);
  // Hands all of them to the kernel through the netlink socket. Returns how many could not be.
  size_t send(int fd);

 private:
  uint16_t queue_;
  std::vector<uint8_t> bytes_;
  size_t count_ = 0;
};

}  // namespace tidesman
