// Netlink, as much as we need: building requests, reading attributes with every length checked, one request at a time.
#pragma once
#include <linux/netlink.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

namespace tidesman {

// One attribute (struct nlattr, linux/netlink.h), type without its flag bits:
//   u16 nla_len (header included)   u16 nla_type   payload   padding to 4 bytes
struct Attribute {
  uint16_t type = 0;
  const uint8_t* data = nullptr;
  size_t length = 0;

  // The payload as one number; 0 when it is too short. be: network order, else host order.
  uint32_t be32() const;
  uint32_t host32() const;
  uint8_t byte() const { return length >= 1 ? data[0] : 0; }
  // Up to the first NUL.
  std::string text() const;
};

// Walks the attributes in `length` bytes; stops at the first whose length does not fit.
class AttributeReader {
 public:
  AttributeReader(const uint8_t* data, size_t length) : data_(data), left_(length) {}
  explicit AttributeReader(const Attribute& nested) : AttributeReader(nested.data, nested.length) {}
  // `cut`: give an attribute that reaches beyond the end with what is there of it, as in a truncated message.
  bool next(Attribute* attribute, bool cut = false);

 private:
  const uint8_t* data_;
  size_t left_;
};

// One request: nlmsghdr, a fixed body, attributes.
class Request {
 public:
  Request(uint16_t type, uint16_t flags);
  // struct nfgenmsg: u8 family, u8 version (0), be16 resource id. `subsystem` is NFNL_SUBSYS_….
  static Request netfilter(uint8_t subsystem, uint8_t message, uint16_t flags, uint8_t family, uint16_t resource = 0);

  void body(const void* data, size_t length);
  void attribute(uint16_t type, const void* data, size_t length);
  void byte(uint16_t type, uint8_t value) { attribute(type, &value, 1); }
  // In network order; `flags` such as NLA_F_NET_BYTEORDER.
  void be32(uint16_t type, uint32_t value);
  void text(uint16_t type, const std::string& value) { attribute(type, value.c_str(), value.size() + 1); }
  // Everything appended until `end` is given the returned mark stands inside the attribute.
  size_t begin(uint16_t type);
  void end(size_t mark);

  // Sets length and sequence number; the bytes are valid until the next append.
  const std::vector<uint8_t>& finish(uint32_t sequence);

 private:
  std::vector<uint8_t> bytes_;
};

// One message of an answer; `data` follows the nlmsghdr.
struct Message {
  uint16_t type;
  const uint8_t* data;
  size_t length;
};

// A netlink socket for requests, one at a time, answered by the kernel while we wait (bounded: two seconds).
class NetlinkSocket {
 public:
  NetlinkSocket() = default;
  ~NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;

  bool is_open() const { return fd_ >= 0; }
  // All return 0 or an errno.
  int open(int protocol);
  // Opens it in the network namespace at `path`, by a short-lived thread: a socket stays in the namespace where it
  // was made, the calling thread never leaves its own.
  int open_in(const std::string& path, int protocol, std::string* step);
  // Sends, and hands over every message of the answer up to its acknowledgement (NLM_F_ACK) or end (NLM_F_DUMP).
  // The result is the kernel's errno; IPSET_ERR_PRIVATE and above for ipset. EINTR: a dump raced with a change.
  int exchange(Request& request, const std::function<void(const Message&)>& on_message);
  int exchange(Request& request);

  // Takes `count` sequence numbers; the first of them.
  uint32_t reserve(uint32_t count);
  // Sends `count` finished requests of consecutive sequence numbers at once, and hands over what has been answered by
  // then: for subsystems that answer at once (nfnetlink). An answer is one message, which may be NLMSG_ERROR.
  int exchange_many(const std::vector<uint8_t>& requests, uint32_t first, size_t count,
                    const std::function<void(size_t index, const Message&)>& on_answer);

 private:
  int fd_ = -1;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace tidesman
