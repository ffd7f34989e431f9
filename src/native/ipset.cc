// Entries of hash:ip and hash:net sets over netlink (net/netfilter/ipset/ip_set_core.c), one request per change.
//
//   nlmsghdr  nfgenmsg{family}
//   IPSET_ATTR_PROTOCOL u8   IPSET_ATTR_SETNAME text
//   IPSET_ATTR_DATA { IPSET_ATTR_IP { IPSET_ATTR_IPADDR_IPV4 be32 | IPSET_ATTR_IPADDR_IPV6 16 bytes }
//                     [IPSET_ATTR_CIDR u8]  [IPSET_ATTR_TIMEOUT be32 seconds] }
//
// Without NLM_F_EXCL an entry that is there already is renewed, timeout included, and one that is missing is no error.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include <string>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

// Protocol 6 came with Linux 2.6.39, 7 with 4.20; both have the messages used here.
constexpr uint8_t kNewestProtocol = 7, kOldestProtocol = 6;

// Errors above IPSET_ERR_PRIVATE, linux/netfilter/ipset/ip_set.h and ip_set_hash.h.
const struct {
  int error;
  const char* name;
  const char* meaning;
} kErrors[] = {
    {ENOENT, "ENOENT", "there is no such set"},
    {IPSET_ERR_PROTOCOL, "IPSET_ERR_PROTOCOL", "the set takes another kind of entry; is it of the other address family?"},
    {IPSET_ERR_BUSY, "IPSET_ERR_BUSY", "the set is busy"},
    {IPSET_ERR_EXIST, "IPSET_ERR_EXIST", "the entry is there already"},
    {IPSET_ERR_INVALID_CIDR, "IPSET_ERR_INVALID_CIDR", "the set does not take this prefix length"},
    {IPSET_ERR_INVALID_NETMASK, "IPSET_ERR_INVALID_NETMASK", "the set does not take this netmask"},
    {IPSET_ERR_INVALID_FAMILY, "IPSET_ERR_INVALID_FAMILY", "the set holds the other address family"},
    {IPSET_ERR_TIMEOUT, "IPSET_ERR_TIMEOUT", "the set was made without timeouts"},
    {IPSET_ERR_IPADDR_IPV4, "IPSET_ERR_IPADDR_IPV4", "the set holds IPv4"},
    {IPSET_ERR_IPADDR_IPV6, "IPSET_ERR_IPADDR_IPV6", "the set holds IPv6"},
    {IPSET_ERR_TYPE_SPECIFIC, "IPSET_ERR_HASH_FULL", "the set is full"},
    {IPSET_ERR_TYPE_SPECIFIC + 1, "IPSET_ERR_HASH_ELEM", "the set cannot hold this entry"},
};

napi_value throw_ipset(napi_env env, int error) {
  for (const auto& known : kErrors) {
    if (known.error == error) return throw_code(env, known.name, known.meaning);
  }
  if (error >= IPSET_ERR_PRIVATE) {
    return throw_code(env, "IPSET_ERR", "error " + std::to_string(error) + " of the set's type");
  }
  return throw_errno(env, error, "ipset");
}

// Opens the environment's socket and agrees on a protocol version: we name ours, the kernel its newest.
int connect(Addon* addon) {
  if (addon->ipset_protocol != 0) return 0;
  int error = addon->ipset_socket.is_open() ? 0 : addon->ipset_socket.open(NETLINK_NETFILTER);
  if (error != 0) return error;
  Request request = Request::netfilter(NFNL_SUBSYS_IPSET, IPSET_CMD_PROTOCOL, NLM_F_ACK, AF_INET);
  request.byte(IPSET_ATTR_PROTOCOL, kNewestProtocol);
  uint8_t offered = 0;
  error = addon->ipset_socket.exchange(request, [&](const Message& message) {
    if (message.length < sizeof(nfgenmsg)) return;
    AttributeReader reader(message.data + sizeof(nfgenmsg), message.length - sizeof(nfgenmsg));
    Attribute attribute;
    while (reader.next(&attribute)) {
      if (attribute.type == IPSET_ATTR_PROTOCOL) offered = attribute.byte();
    }
  });
  if (error == EINVAL) return ENOSYS;  // nfnetlink knows no such subsystem and could not load it
  if (error != 0) return error;
  if (offered < kOldestProtocol) return EPROTONOSUPPORT;
  addon->ipset_protocol = offered < kNewestProtocol ? offered : kNewestProtocol;
  return 0;
}

}  // namespace

// changeIpset(add, set, address, prefixLength, timeout, hasTimeout)
napi_value change_ipset(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const bool add = arguments.boolean(0);
  const std::string set = arguments.text(1), address = arguments.text(2);
  const uint32_t prefix_length = arguments.number(3), timeout = arguments.number(4);
  const bool has_timeout = arguments.boolean(5);
  if (!arguments.ok()) return arguments.fail();
  uint8_t bytes[16];
  const bool v6 = address.find(':') != std::string::npos;
  if (inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), bytes) != 1 || prefix_length > (v6 ? 128u : 32u) ||
      set.size() >= IPSET_MAXNAMELEN) {
    return arguments.fail();
  }
  Addon* addon = Addon::of(env);
  int error = connect(addon);
  if (error != 0) return throw_ipset(env, error);
  Request request = Request::netfilter(NFNL_SUBSYS_IPSET, add ? IPSET_CMD_ADD : IPSET_CMD_DEL, NLM_F_ACK,
                                       v6 ? AF_INET6 : AF_INET);
  request.byte(IPSET_ATTR_PROTOCOL, addon->ipset_protocol);
  request.text(IPSET_ATTR_SETNAME, set);
  const size_t data = request.begin(IPSET_ATTR_DATA);
  const size_t ip = request.begin(IPSET_ATTR_IP);
  request.attribute(static_cast<uint16_t>((v6 ? IPSET_ATTR_IPADDR_IPV6 : IPSET_ATTR_IPADDR_IPV4) | NLA_F_NET_BYTEORDER),
                    bytes, v6 ? 16 : 4);
  request.end(ip);
  if (prefix_length != (v6 ? 128u : 32u)) request.byte(IPSET_ATTR_CIDR, static_cast<uint8_t>(prefix_length));
  if (has_timeout) request.be32(IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, timeout);
  request.end(data);
  error = addon->ipset_socket.exchange(request);
  return error == 0 ? nullptr : throw_ipset(env, error);
}

}  // namespace tidesman
