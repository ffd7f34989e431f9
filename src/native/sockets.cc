// Destroys the TCP connections of a network namespace (SOCK_DESTROY, net/ipv4/inet_diag.c): each peer gets a reset, each
// owner ECONNABORTED. Listening sockets stay, so that a container which is let go later still serves; so do TIME_WAIT and
// CLOSE, which have no peer to tell.
//
//   nlmsghdr  inet_diag_req_v2: u8 family, u8 protocol, u8 extensions, u8 pad, u32 states, inet_diag_sockid (48)
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

// net/tcp_states.h: 1 ESTABLISHED, 2 SYN_SENT, 3 SYN_RECV, 4 and 5 FIN_WAIT, 8 CLOSE_WAIT, 9 LAST_ACK, 11 CLOSING,
// 12 NEW_SYN_RECV.
constexpr uint32_t kStates = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12;

int destroy(NetlinkSocket& socket, uint8_t family, uint32_t* count) {
  inet_diag_req_v2 wanted = {};
  wanted.sdiag_family = family;
  wanted.sdiag_protocol = IPPROTO_TCP;
  wanted.idiag_states = kStates;
  Request list(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  list.body(&wanted, sizeof wanted);
  std::vector<inet_diag_sockid> found;
  int error = socket.exchange(list, [&](const Message& message) {
    inet_diag_msg entry;
    if (message.type != SOCK_DIAG_BY_FAMILY || message.length < sizeof entry) return;
    memcpy(&entry, message.data, sizeof entry);
    found.push_back(entry.id);
  });
  if (error != 0 && error != EINTR) return error;
  for (const inet_diag_sockid& id : found) {
    wanted.id = id;
    Request request(SOCK_DESTROY, NLM_F_ACK);
    request.body(&wanted, sizeof wanted);
    error = socket.exchange(request);
    if (error == 0) {
      ++*count;
    } else if (error != ENOENT) {  // ENOENT: closed meanwhile
      return error;
    }
  }
  return 0;
}

}  // namespace

// resetConnections(namespace) -> number
napi_value reset_connections(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string path = arguments.text(0);
  if (!arguments.ok()) return arguments.fail();
  NetlinkSocket socket;
  std::string step;
  int error = socket.open_in(path, NETLINK_SOCK_DIAG, &step);
  if (error != 0) return throw_errno(env, error, step);
  uint32_t count = 0;
  error = destroy(socket, AF_INET, &count);
  if (error == 0) error = destroy(socket, AF_INET6, &count);
  return error == 0 ? make_number(env, count) : throw_errno(env, error, "destroy sockets");
}

}  // namespace tidesman
