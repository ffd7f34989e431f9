#include "udp_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>

namespace tidesman {

const napi_type_tag UdpSocket::kTag = {0x8a51b0d3c6e44f02, 0x9f2d7e60a1b35c02};

// ADDRESS or, on IPv6, ADDRESS%ZONE with an interface's name or index. False when it is none of the family.
static bool parse_address(const std::string& text, int64_t port, bool v6, UdpAddress* address) {
  if (port < 0 || port > UINT16_MAX) return false;
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
    if (address->v6.sin6_scope_id == 0) {
      address->v6.sin6_scope_id = static_cast<uint32_t>(strtoul(zone.c_str(), nullptr, 10));
    }
  }
  return inet_pton(AF_INET6, text.substr(0, percent).c_str(), &address->v6.sin6_addr) == 1;
}

bool UdpSocketOptions::read(Arguments& options, uint32_t slots) {
  const int64_t family = options.number("family"), port = options.number("port");
  const int64_t peer_port = options.number("peerPort"), first = options.number("firstSlot");
  const int64_t most = options.number("batch"), fd = options.number("fd");
  const int64_t bytes = options.number("buffer"), wanted_mark = options.number("mark");
  const std::string address = options.text("address"), peer_address = options.text("peerAddress");
  reuse_port = options.boolean("reusePort");
  if (!options.ok() || (family != 4 && family != 6) || most < 1 || most > 1024 || first < 0 || first + most > slots ||
      fd < -1 || fd > INT32_MAX || bytes < 1 || bytes > INT32_MAX || wanted_mark < -1 || wanted_mark > UINT32_MAX) {
    return false;
  }
  v6 = family == 6;
  connected = !peer_address.empty();
  first_slot = static_cast<uint32_t>(first);
  batch = static_cast<uint32_t>(most);
  buffer = static_cast<int>(bytes);
  adopted = static_cast<int>(fd);
  has_mark = wanted_mark >= 0;
  mark = has_mark ? static_cast<uint32_t>(wanted_mark) : 0;
  return parse_address(address, port, v6, &local) &&
         (!connected || parse_address(peer_address, peer_port, v6, &peer));
}

static int set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : errno;
}

// A duplicate of the adopted descriptor, when it is a UDP socket of the family.
static int adopt(UdpSocket& socket, int adopted, int family) {
  socket.fd = fcntl(adopted, F_DUPFD_CLOEXEC, 3);
  if (socket.fd < 0) return errno;
  int type = 0, domain = 0;
  socklen_t length = sizeof type;
  if (getsockopt(socket.fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return errno;
  length = sizeof domain;
  if (getsockopt(socket.fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return errno;
  if (type != SOCK_DGRAM) return EPROTOTYPE;
  return domain == family ? 0 : EAFNOSUPPORT;
}

int open_descriptor(UdpSocket& socket, const UdpSocketOptions& options, std::string* step) {
  const int family = options.v6 ? AF_INET6 : AF_INET;
  const bool fresh = options.adopted < 0;
  int error = 0;
  if (fresh) {
    *step = "socket";
    socket.fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket.fd < 0) return errno;
  } else {
    *step = "adopt descriptor";
    error = adopt(socket, options.adopted, family);
    if (error != 0) return error;
  }
  *step = "option";
  if (options.v6) {
    if (fresh) error = set_option(socket.fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (error == 0) error = set_option(socket.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  } else {
    error = set_option(socket.fd, IPPROTO_IP, IP_PKTINFO, 1);
  }
  if (error == 0 && fresh && options.reuse_port) error = set_option(socket.fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (error != 0) return error;
  // Without CAP_NET_ADMIN the limits of the system hold (net.core.rmem_max); smaller buffers are no failure.
  if (set_option(socket.fd, SOL_SOCKET, SO_RCVBUFFORCE, options.buffer) != 0) {
    set_option(socket.fd, SOL_SOCKET, SO_RCVBUF, options.buffer);
  }
  if (set_option(socket.fd, SOL_SOCKET, SO_SNDBUFFORCE, options.buffer) != 0) {
    set_option(socket.fd, SOL_SOCKET, SO_SNDBUF, options.buffer);
  }
  if (options.has_mark) {
    *step = "mark";
    error = set_option(socket.fd, SOL_SOCKET, SO_MARK, static_cast<int>(options.mark));
    if (error != 0) return error;
  }
  if (fresh) {
    *step = "bind";
    if (bind(socket.fd, &options.local.any, address_size(options.v6)) != 0) return errno;
  }
  if (options.connected) {
    *step = "connect";
    if (connect(socket.fd, &options.peer.any, address_size(options.v6)) != 0) return errno;
  }
  return 0;
}

}  // namespace tidesman
