// Between the slots of an arena and the kernel's message headers.
#pragma once
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include <vector>

#include "udp_socket.h"

namespace tidesman {

// Columns of a row of `UdpArena.meta`, as in types.ts.
enum SlotColumn {
  kReceived, kLength, kFamily, kPeerPort, kPeerAddress, kPeerScope = 8, kInterface, kLocalAddress, kSlotStride = 16
};

// The memory that JavaScript sees.
struct Slots {
  uint8_t* slab = nullptr;
  int32_t* meta = nullptr;
  uint32_t count = 0;
  uint32_t size = 0;

  uint8_t* bytes(uint32_t slot) const { return slab + static_cast<size_t>(slot) * size; }
  int32_t* row(uint32_t slot) const { return meta + static_cast<size_t>(slot) * kSlotStride; }
};

// Headers, with room for one in6_pktinfo (20 bytes) or in_pktinfo (12 bytes) behind a cmsghdr each.
class Messages {
 public:
  void reserve(size_t count);
  size_t size() const { return headers_.size(); }

 protected:
  union Control {
    cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
  };
  std::vector<mmsghdr> headers_;
  std::vector<iovec> vectors_;
  std::vector<UdpAddress> names_;
  std::vector<Control> controls_;
};

class ReceiveMessages : public Messages {
 public:
  void reserve(size_t count);
  // recvmmsg into the slots of `socket`. Returns its count, or -1 with errno.
  int receive(const UdpSocket& socket, const Slots& slots);
  // Writes the row of the `index`th datagram received; false when it was longer than a slot.
  bool decode(const UdpSocket& socket, const Slots& slots, uint32_t index);
  // A socket is about to go.
  void forget(const UdpSocket& socket);

 private:
  void prepare(const UdpSocket& socket, const Slots& slots);

  // The socket that the headers are set up for: several batches in a row of one socket need only what the kernel
  // overwrote, and `decode` has put that right.
  const UdpSocket* prepared_ = nullptr;
};

class SendMessages : public Messages {
 public:
  // Sets up message `index` from `slot`. False when length, family or port cannot be sent.
  bool fill(const UdpSocket& socket, const Slots& slots, uint32_t slot, size_t index);
  // sendmmsg of the messages from `first` up to `end`. Returns its count, or -1 with errno.
  int send(const UdpSocket& socket, size_t first, size_t end);

 private:
  void attach(size_t index, int level, int type, const void* data, size_t length);
};

}  // namespace tidesman
