// Interfaces and their addresses over rtnetlink, of our own or another network namespace, and a watch on ours.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

// A dump that raced with a change (NLM_F_DUMP_INTR) is taken again, so often.
constexpr int kMostDumps = 5;

struct Link {
  uint32_t index = 0, peer = 0, master = 0;
  bool up = false;
  std::string name, kind, hardware_address;
  std::vector<std::string> addresses;
};

// ifinfomsg: u8 family, u8 pad, u16 device type, i32 index, u32 flags, u32 change; then IFLA_… attributes.
void read_link(const Message& message, std::vector<Link>* links) {
  ifinfomsg info;
  if (message.type != RTM_NEWLINK || message.length < sizeof info) return;
  memcpy(&info, message.data, sizeof info);
  Link link;
  link.index = static_cast<uint32_t>(info.ifi_index);
  link.up = (info.ifi_flags & IFF_UP) != 0;
  const size_t skip = NLMSG_ALIGN(sizeof info);
  AttributeReader reader(message.data + skip, message.length - skip);
  Attribute attribute, inner;
  while (reader.next(&attribute)) {
    switch (attribute.type) {
      case IFLA_IFNAME: link.name = attribute.text(); break;
      case IFLA_LINK: link.peer = attribute.host32(); break;
      case IFLA_MASTER: link.master = attribute.host32(); break;
      case IFLA_ADDRESS:
        for (size_t index = 0; index < attribute.length; index++) {
          char hex[4];
          snprintf(hex, sizeof hex, index == 0 ? "%02x" : ":%02x", attribute.data[index]);
          link.hardware_address += hex;
        }
        break;
      case IFLA_LINKINFO: {
        AttributeReader nested(attribute);
        while (nested.next(&inner)) {
          if (inner.type == IFLA_INFO_KIND) link.kind = inner.text();
        }
        break;
      }
      default: break;
    }
  }
  links->push_back(std::move(link));
}

// ifaddrmsg: u8 family, u8 prefix length, u8 flags, u8 scope, u32 index; then IFA_… attributes. IFA_LOCAL is our address,
// IFA_ADDRESS the far end's on point-to-point links and ours where there is no IFA_LOCAL.
void read_address(const Message& message, std::vector<Link>* links) {
  ifaddrmsg info;
  if (message.type != RTM_NEWADDR || message.length < sizeof info) return;
  memcpy(&info, message.data, sizeof info);
  const size_t size = info.ifa_family == AF_INET ? 4 : info.ifa_family == AF_INET6 ? 16 : 0;
  const size_t skip = NLMSG_ALIGN(sizeof info);
  AttributeReader reader(message.data + skip, message.length - skip);
  Attribute attribute;
  const uint8_t* bytes = nullptr;
  while (reader.next(&attribute)) {
    if (size == 0 || attribute.length < size) continue;
    if (attribute.type == IFA_LOCAL || (attribute.type == IFA_ADDRESS && bytes == nullptr)) bytes = attribute.data;
  }
  char text[INET6_ADDRSTRLEN];
  if (bytes == nullptr || inet_ntop(info.ifa_family, bytes, text, sizeof text) == nullptr) return;
  auto link = std::find_if(links->begin(), links->end(), [&](const Link& each) { return each.index == info.ifa_index; });
  if (link != links->end()) link->addresses.push_back(std::string(text) + "/" + std::to_string(info.ifa_prefixlen));
}

int dump(NetlinkSocket& socket, std::vector<Link>* links) {
  int error = EINTR;
  for (int attempt = 0; attempt < kMostDumps && error == EINTR; attempt++) {
    links->clear();
    Request for_links(RTM_GETLINK, NLM_F_DUMP);
    const ifinfomsg any_link = {};
    for_links.body(&any_link, sizeof any_link);
    error = socket.exchange(for_links, [&](const Message& message) { read_link(message, links); });
    if (error != 0) continue;
    Request for_addresses(RTM_GETADDR, NLM_F_DUMP);
    const ifaddrmsg any_address = {};
    for_addresses.body(&any_address, sizeof any_address);
    error = socket.exchange(for_addresses, [&](const Message& message) { read_address(message, links); });
  }
  return error;
}

napi_value to_javascript(napi_env env, const Link& link) {
  napi_value object = nullptr, up = nullptr, addresses = nullptr;
  napi_create_object(env, &object);
  set(env, object, "index", make_number(env, link.index));
  set(env, object, "name", make_text(env, link.name));
  set(env, object, "peer", make_number(env, link.peer));
  set(env, object, "master", make_number(env, link.master));
  set(env, object, "kind", make_text(env, link.kind));
  napi_get_boolean(env, link.up, &up);
  set(env, object, "up", up);
  set(env, object, "hardwareAddress", make_text(env, link.hardware_address));
  napi_create_array_with_length(env, link.addresses.size(), &addresses);
  for (uint32_t index = 0; index < link.addresses.size(); index++) {
    napi_set_element(env, addresses, index, make_text(env, link.addresses[index]));
  }
  set(env, object, "addresses", addresses);
  return object;
}

// Multicast messages are only a signal; what changed is read by a new dump.
class LinkWatch : public Closable {
 public:
  static constexpr napi_type_tag kTag = {0x8a51b0d3c6e44f04, 0x9f2d7e60a1b35c04};

  static napi_value open(napi_env env, napi_value on_change) {
    auto watch = std::make_shared<LinkWatch>();
    watch->addon_ = Addon::of(env);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0) return throw_errno(env, errno, "netlink socket");
    sockaddr_nl groups = {};
    groups.nl_family = AF_NETLINK;
    groups.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    int error = bind(fd, reinterpret_cast<sockaddr*>(&groups), sizeof groups) == 0 ? 0 : errno;
    if (error == 0) {
      watch->fd_ = fd;
      watch->callback_ = std::make_shared<Callback>(env, on_change, "TidesmanLinkWatch");
      watch->poller_ = Poller::open(watch->addon_, fd, [watch](int) { watch->on_readable(); }, &error);
    }
    if (error != 0) {
      ::close(fd);
      return throw_errno(env, error, "watch links");
    }
    watch->addon_->add(watch.get());
    return wrap(env, watch);
  }

  void close() override {
    if (poller_ == nullptr) return;
    poller_->close();
    poller_ = nullptr;
    callback_.reset();
    addon_->remove(this);
  }

 private:
  void on_readable() {
    // All that stands there is one change; after an overrun (ENOBUFS) there was one as well.
    uint8_t buffer[8192];
    while (recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT) >= 0 || errno == EINTR || errno == ENOBUFS) {
    }
    const std::shared_ptr<Callback> callback = callback_;
    callback->call(true, nullptr, 0);
  }

  Addon* addon_ = nullptr;
  int fd_ = -1;
  Poller* poller_ = nullptr;
  std::shared_ptr<Callback> callback_;
};
constexpr napi_type_tag LinkWatch::kTag;

}  // namespace

// listLinks(namespace or "") -> Link[]
napi_value list_links(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string path = arguments.text(0);
  if (!arguments.ok()) return arguments.fail();
  NetlinkSocket socket;
  std::string step = "netlink socket";
  int error = path.empty() ? socket.open(NETLINK_ROUTE) : socket.open_in(path, NETLINK_ROUTE, &step);
  if (error != 0) return throw_errno(env, error, step);
  std::vector<Link> links;
  error = dump(socket, &links);
  if (error != 0) return throw_errno(env, error, "list links");
  napi_value array = nullptr;
  napi_create_array_with_length(env, links.size(), &array);
  for (uint32_t index = 0; index < links.size(); index++) {
    napi_set_element(env, array, index, to_javascript(env, links[index]));
  }
  return array;
}

// setLink(index, up): a link of our own namespace, as `ip link set` does it.
napi_value set_link(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  ifinfomsg wanted = {};
  wanted.ifi_index = static_cast<int>(arguments.number(0));
  wanted.ifi_flags = arguments.boolean(1) ? IFF_UP : 0;
  wanted.ifi_change = IFF_UP;
  if (!arguments.ok()) return arguments.fail();
  NetlinkSocket socket;
  int error = socket.open(NETLINK_ROUTE);
  if (error != 0) return throw_errno(env, error, "netlink socket");
  Request request(RTM_NEWLINK, NLM_F_ACK);
  request.body(&wanted, sizeof wanted);
  error = socket.exchange(request);
  return error == 0 ? nullptr : throw_errno(env, error, "set link");
}

// watchLinks(onChange) -> handle
napi_value watch_links(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value on_change = arguments.function(0);
  if (!arguments.ok()) return arguments.fail();
  return LinkWatch::open(env, on_change);
}

// unwatchLinks(handle)
napi_value unwatch_links(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto watch = arguments.wrapped<LinkWatch>(0);
  if (!arguments.ok()) return arguments.fail();
  watch->close();
  return nullptr;
}

}  // namespace tidesman
