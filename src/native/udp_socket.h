// One UDP socket of an arena: its settings, its address, and how it is made.
#pragma once
#include <netinet/in.h>
#include <stdint.h>

#include <memory>
#include <string>

#include "addon.h"
#include "binding.h"

namespace tidesman {

union UdpAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// Bytes of the address of that family.
inline socklen_t address_size(bool v6) { return v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }

class UdpArena;

struct UdpSocket {
  static const napi_type_tag kTag;

  std::weak_ptr<UdpArena> arena;
  uint32_t index = 0;
  int fd = -1;
  Poller* poller = nullptr;
  bool v6 = false;
  bool connected = false;
  UdpAddress peer = {};
  // Datagrams go to the slots from `first_slot` on, at most `batch` at a time.
  uint32_t first_slot = 0;
  uint32_t batch = 0;
  double refused = 0;
  // First and last pair listed for this socket in the flush under way; -1: none.
  int32_t first_listed = -1;
  int32_t last_listed = -1;
};

// What JavaScript asked for, checked.
struct UdpSocketOptions {
  bool v6 = false;
  UdpAddress local = {};
  bool connected = false;
  UdpAddress peer = {};
  uint32_t first_slot = 0, batch = 0;
  int buffer = 0;
  bool reuse_port = false;
  // An open descriptor to duplicate instead of making a socket; -1: none.
  int adopted = -1;
  bool has_mark = false;
  uint32_t mark = 0;

  // False when something is out of range for an arena of that many slots.
  bool read(Arguments& options, uint32_t slots);
};

// Makes or adopts the descriptor of `socket`, binds and connects it. Returns 0, or an errno and the step that failed;
// the descriptor may be open then.
int open_descriptor(UdpSocket& socket, const UdpSocketOptions& options, std::string* step);

}  // namespace tidesman
