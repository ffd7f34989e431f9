// What became of single flows: each looked up by the tuple of its first packet (a hash lookup in the kernel, not a walk of
// the table), many to one sendto. The kernel answers all before sendto returns.
//
// A row of 60 bytes, as FLOW in types.ts says; what is in parentheses is written here:
//   u8 family (4, 6)   u8 protocol   u8 (state)   u8 -   be16 source port   be16 destination port
//   u8 source[16]   u8 destination[16]   u8 (translated[16])   be16 (translated port)   u16 -
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include <vector>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

constexpr size_t kRow = 60, kProtocol = 1, kState = 2, kSourcePort = 4, kPort = 6, kSource = 8, kDestination = 24,
                 kTranslated = 40, kTranslatedPort = 56;
enum State : uint8_t { kUnknown, kGone, kUnanswered, kAnswered };
// Answers to one sendto have to find room in the socket's receive buffer.
constexpr size_t kBatch = 32;

void append_request(const uint8_t* row, uint32_t sequence, std::vector<uint8_t>* bytes) {
  const bool v6 = row[0] == 6;
  const size_t size = v6 ? 16 : 4;
  Request request = Request::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, 0, v6 ? AF_INET6 : AF_INET);
  const size_t tuple = request.begin(CTA_TUPLE_ORIG);
  const size_t ip = request.begin(CTA_TUPLE_IP);
  request.attribute(v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, row + kSource, size);
  request.attribute(v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, row + kDestination, size);
  request.end(ip);
  const size_t proto = request.begin(CTA_TUPLE_PROTO);
  request.byte(CTA_PROTO_NUM, row[kProtocol]);
  request.attribute(CTA_PROTO_SRC_PORT, row + kSourcePort, sizeof(uint16_t));
  request.attribute(CTA_PROTO_DST_PORT, row + kPort, sizeof(uint16_t));
  request.end(proto);
  request.end(tuple);
  const std::vector<uint8_t>& finished = request.finish(sequence);
  bytes->insert(bytes->end(), finished.begin(), finished.end());
}

// Who answers, by the tuple of the answer (CTA_TUPLE_REPLY): where the flow is translated to.
void read_reply(const Attribute& tuple, uint8_t* row) {
  AttributeReader parts(tuple);
  Attribute part;
  while (parts.next(&part)) {
    AttributeReader fields(part);
    Attribute field;
    while (fields.next(&field)) {
      if (part.type == CTA_TUPLE_IP && field.type == CTA_IP_V4_SRC && field.length == 4) {
        memcpy(row + kTranslated, field.data, 4);
      } else if (part.type == CTA_TUPLE_IP && field.type == CTA_IP_V6_SRC && field.length == 16) {
        memcpy(row + kTranslated, field.data, 16);
      } else if (part.type == CTA_TUPLE_PROTO && field.type == CTA_PROTO_SRC_PORT && field.length == 2) {
        memcpy(row + kTranslatedPort, field.data, 2);
      }
    }
  }
}

// The state that an answer tells; kUnknown with `error` set when the kernel refused.
State read_answer(const Message& message, uint8_t* row, int* error) {
  if (message.type == NLMSG_ERROR) {
    int refusal = 0;
    if (message.length >= sizeof refusal) memcpy(&refusal, message.data, sizeof refusal);
    if (refusal == -ENOENT) return kGone;
    *error = -refusal;
    return kUnknown;
  }
  if (message.length < sizeof(nfgenmsg)) return kUnknown;
  AttributeReader reader(message.data + sizeof(nfgenmsg), message.length - sizeof(nfgenmsg));
  Attribute attribute;
  State state = kUnknown;
  while (reader.next(&attribute, true)) {
    if (attribute.type == CTA_TUPLE_REPLY) read_reply(attribute, row);
    if (attribute.type == CTA_STATUS) state = attribute.be32() & IPS_SEEN_REPLY ? kAnswered : kUnanswered;
  }
  return state;
}

}  // namespace

// conntrackStates(flows, count): writes the state of each row, and where it leads if it is there
napi_value conntrack_states(napi_env env, napi_callback_info info) {
  size_t given = 2;
  napi_value values[2] = {};
  uint8_t* rows = nullptr;
  size_t length = 0;
  uint32_t count = 0;
  napi_typedarray_type type = napi_int8_array;
  bool sound = napi_get_cb_info(env, info, &given, values, nullptr, nullptr) == napi_ok && given == 2 &&
               napi_get_typedarray_info(env, values[0], &type, &length, reinterpret_cast<void**>(&rows), nullptr,
                                        nullptr) == napi_ok &&
               type == napi_uint8_array && napi_get_value_uint32(env, values[1], &count) == napi_ok &&
               count <= length / kRow;
  if (!sound) {
    napi_throw_type_error(env, nullptr, "conntrackStates: a Uint8Array of rows, and how many");
    return nullptr;
  }
  for (size_t row = 0; row < count; row++) rows[row * kRow + kState] = kUnknown;
  if (count == 0) return nullptr;
  NetlinkSocket& socket = Addon::of(env)->conntrack_socket;
  int error = socket.is_open() ? 0 : socket.open(NETLINK_NETFILTER);
  std::vector<uint8_t> requests;
  for (size_t first = 0; error == 0 && first < count; first += kBatch) {
    const size_t size = count - first < kBatch ? count - first : kBatch;
    requests.clear();
    const uint32_t sequence = socket.reserve(static_cast<uint32_t>(size));
    for (size_t index = 0; index < size; index++) {
      append_request(rows + (first + index) * kRow, sequence + static_cast<uint32_t>(index), &requests);
    }
    int refused = 0;
    error = socket.exchange_many(requests, sequence, size, [&](size_t index, const Message& message) {
      uint8_t* row = rows + (first + index) * kRow;
      row[kState] = read_answer(message, row, &refused);
    });
    if (error == 0) error = refused;
  }
  return error == 0 ? nullptr : throw_errno(env, error, "look up conntrack entries");
}

}  // namespace tidesman
