// Connection tracking entries over ctnetlink (net/netfilter/nf_conntrack_netlink.c): found by address, then deleted or
// marked one by one.
//
//   nlmsghdr  nfgenmsg{family}
//   CTA_TUPLE_ORIG { CTA_TUPLE_IP { CTA_IP_V4_SRC, CTA_IP_V4_DST | CTA_IP_V6_SRC, CTA_IP_V6_DST }
//                    CTA_TUPLE_PROTO { CTA_PROTO_DST_PORT be16, … } }
//   CTA_ID be32   CTA_ZONE be16   CTA_MARK be32   CTA_MARK_MASK be32   CTA_FILTER { CTA_FILTER_ORIG_FLAGS u32 }
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

// Bits of CTA_FILTER_ORIG_FLAGS, net/netfilter/nf_conntrack_netlink.c and libnetfilter_conntrack; not in a UAPI header.
constexpr uint32_t kFilterSource = 1 << 0, kFilterDestination = 1 << 1;
constexpr int kMostDumps = 5;

using Bytes = std::vector<uint8_t>;

struct Address {
  uint8_t family = AF_INET;
  size_t size = 4;
  uint8_t bytes[16] = {};
};

// What names one entry again: the payloads of its attributes, as the kernel sent them.
struct Entry {
  Bytes tuple, id, zone;
};

bool parse(const std::string& text, Address* address) {
  if (text.find(':') != std::string::npos) {
    address->family = AF_INET6;
    address->size = 16;
  }
  return inet_pton(address->family, text.c_str(), address->bytes) == 1;
}

bool tuple_has(const Attribute& tuple, const Address& address, bool source) {
  const bool v6 = address.family == AF_INET6;
  const uint16_t wanted = source ? (v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC) : (v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST);
  AttributeReader parts(tuple);
  Attribute part, ip;
  while (parts.next(&part)) {
    if (part.type != CTA_TUPLE_IP) continue;
    AttributeReader addresses(part);
    while (addresses.next(&ip)) {
      if (ip.type == wanted && ip.length == address.size && memcmp(ip.data, address.bytes, ip.length) == 0) return true;
    }
  }
  return false;
}

bool tuple_goes_to(const Attribute& tuple, uint16_t port) {
  AttributeReader parts(tuple);
  Attribute part, field;
  while (parts.next(&part)) {
    if (part.type != CTA_TUPLE_PROTO) continue;
    AttributeReader fields(part);
    while (fields.next(&field)) {
      if (field.type != CTA_PROTO_DST_PORT || field.length != sizeof(uint16_t)) continue;
      return (field.data[0] << 8 | field.data[1]) == port;
    }
  }
  return false;
}

// Which entries are meant: those with that original source (or destination), and that destination port unless 0.
struct Wanted {
  Address address;
  bool source = true;
  uint16_t port = 0;
};

void read_entry(const Message& message, const Wanted& wanted, std::vector<Entry>* entries) {
  if (message.type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || message.length < sizeof(nfgenmsg)) return;
  AttributeReader reader(message.data + sizeof(nfgenmsg), message.length - sizeof(nfgenmsg));
  Attribute attribute;
  Entry entry;
  bool found = false;
  while (reader.next(&attribute)) {
    const Bytes payload(attribute.data, attribute.data + attribute.length);
    if (attribute.type == CTA_TUPLE_ORIG) {
      found = tuple_has(attribute, wanted.address, wanted.source) &&
              (wanted.port == 0 || tuple_goes_to(attribute, wanted.port));
      entry.tuple = payload;
    } else if (attribute.type == CTA_ID) {
      entry.id = payload;
    } else if (attribute.type == CTA_ZONE) {
      entry.zone = payload;
    }
  }
  if (found) entries->push_back(std::move(entry));
}

// The entries that are meant. For IPv4, kernels since 5.8 filter for us and older ones ignore
// CTA_FILTER and send everything, so each entry is looked at in any case. For IPv6 they are not asked to: the kernel's
// comparison is the wrong way round (ctnetlink_filter_match_tuple takes ipv6_addr_cmp() for "equal"; seen on 6.18), so
// that exactly the entries asked for are left out.
int find(NetlinkSocket& socket, const Wanted& wanted, std::vector<Entry>* entries) {
  const Address& address = wanted.address;
  const bool source = wanted.source;
  const uint32_t flags = source ? kFilterSource : kFilterDestination;
  int error = EINTR;
  for (int attempt = 0; attempt < kMostDumps && error == EINTR; attempt++) {
    entries->clear();
    Request request = Request::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, address.family);
    if (address.family == AF_INET) {
      const size_t tuple = request.begin(CTA_TUPLE_ORIG);
      const size_t ip = request.begin(CTA_TUPLE_IP);
      request.attribute(source ? CTA_IP_V4_SRC : CTA_IP_V4_DST, address.bytes, address.size);
      request.end(ip);
      request.end(tuple);
      const size_t filter = request.begin(CTA_FILTER);
      request.attribute(CTA_FILTER_ORIG_FLAGS, &flags, sizeof flags);
      request.end(filter);
    }
    error = socket.exchange(request, [&](const Message& message) { read_entry(message, wanted, entries); });
  }
  return error;
}

// Names `entry` in a request. Never without its tuple: a delete that names nothing flushes the whole table.
void name_entry(Request* request, const Entry& entry) {
  request->attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, entry.tuple.data(), entry.tuple.size());
  if (!entry.zone.empty()) request->attribute(CTA_ZONE, entry.zone.data(), entry.zone.size());
}

int remove(NetlinkSocket& socket, const Wanted& wanted, uint32_t* count) {
  std::vector<Entry> entries;
  int error = find(socket, wanted, &entries);
  if (error != 0) return error;
  for (const Entry& entry : entries) {
    Request request = Request::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, wanted.address.family);
    name_entry(&request, entry);
    if (!entry.id.empty()) request.attribute(CTA_ID, entry.id.data(), entry.id.size());
    error = socket.exchange(request);
    if (error == 0) {
      ++*count;
    } else if (error != ENOENT) {  // ENOENT: it ended by itself meanwhile
      return error;
    }
  }
  return 0;
}

}  // namespace

// deleteConntrack(address, port) -> number; with a port only what the address itself opened to it
napi_value delete_conntrack(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string text = arguments.text(0);
  const uint32_t port = arguments.number(1);
  Wanted wanted;
  if (!arguments.ok() || port > UINT16_MAX || !parse(text, &wanted.address)) return arguments.fail();
  wanted.port = static_cast<uint16_t>(port);
  NetlinkSocket socket;
  uint32_t count = 0;
  int error = socket.open(NETLINK_NETFILTER);
  if (error == 0) error = remove(socket, wanted, &count);
  wanted.source = false;
  if (error == 0 && port == 0) error = remove(socket, wanted, &count);
  return error == 0 ? make_number(env, count) : throw_errno(env, error, "delete conntrack entries");
}

// markConntrack(address, mark, mask) -> number
napi_value mark_conntrack(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::string text = arguments.text(0);
  const uint32_t mark = arguments.number(1), mask = arguments.number(2);
  Wanted wanted;
  if (!arguments.ok() || !parse(text, &wanted.address)) return arguments.fail();
  NetlinkSocket socket;
  std::vector<Entry> entries;
  uint32_t count = 0;
  int error = socket.open(NETLINK_NETFILTER);
  if (error == 0) error = find(socket, wanted, &entries);
  for (size_t index = 0; error == 0 && index < entries.size(); index++) {
    // Neither NLM_F_CREATE nor NLM_F_EXCL: an update. The kernel keeps the bits outside CTA_MARK_MASK itself
    // (ctnetlink_change_mark), so no packet can change them between our read and our write.
    Request request = Request::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW, NLM_F_ACK, wanted.address.family);
    name_entry(&request, entries[index]);
    request.be32(CTA_MARK, mark & mask);
    request.be32(CTA_MARK_MASK, mask);
    error = socket.exchange(request);
    if (error == 0) count++;
    if (error == ENOENT) error = 0;
  }
  return error == 0 ? make_number(env, count) : throw_errno(env, error, "mark conntrack entries");
}

}  // namespace tidesman
