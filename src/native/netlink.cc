#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <uv.h>

namespace tidesman {

uint32_t Attribute::be32() const { return ntohl(host32()); }

uint32_t Attribute::host32() const {
  uint32_t value = 0;
  if (length >= sizeof value) memcpy(&value, data, sizeof value);
  return value;
}

std::string Attribute::text() const {
  return std::string(reinterpret_cast<const char*>(data), strnlen(reinterpret_cast<const char*>(data), length));
}

bool AttributeReader::next(Attribute* attribute, bool cut) {
  if (left_ < NLA_HDRLEN) return false;
  nlattr header;
  memcpy(&header, data_, sizeof header);
  size_t length = header.nla_len;
  if (length < NLA_HDRLEN) return false;
  if (length > left_) {
    if (!cut) return false;
    length = left_;
  }
  attribute->type = header.nla_type & NLA_TYPE_MASK;
  attribute->data = data_ + NLA_HDRLEN;
  attribute->length = length - NLA_HDRLEN;
  size_t step = NLA_ALIGN(length);
  if (step > left_) step = left_;
  data_ += step;
  left_ -= step;
  return true;
}

// struct nlmsghdr: u32 length   u16 type   u16 flags   u32 sequence   u32 port id (0: filled in by the kernel)
Request::Request(uint16_t type, uint16_t flags) {
  nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  body(&header, sizeof header);
}

Request Request::netfilter(uint8_t subsystem, uint8_t message, uint16_t flags, uint8_t family, uint16_t resource) {
  Request request(static_cast<uint16_t>(subsystem << 8 | message), flags);
  nfgenmsg generic = {};
  generic.nfgen_family = family;
  generic.version = NFNETLINK_V0;
  generic.res_id = htons(resource);
  request.body(&generic, sizeof generic);
  return request;
}

void Request::body(const void* data, size_t length) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), bytes, bytes + length);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void Request::attribute(uint16_t type, const void* data, size_t length) {
  nlattr header = {};
  header.nla_len = static_cast<uint16_t>(NLA_HDRLEN + length);
  header.nla_type = type;
  body(&header, sizeof header);
  body(data, length);
}

void Request::be32(uint16_t type, uint32_t value) {
  uint32_t network = htonl(value);
  attribute(type, &network, sizeof network);
}

size_t Request::begin(uint16_t type) {
  size_t mark = bytes_.size();
  attribute(static_cast<uint16_t>(type | NLA_F_NESTED), nullptr, 0);
  return mark;
}

void Request::end(size_t mark) {
  auto length = static_cast<uint16_t>(bytes_.size() - mark);
  memcpy(&bytes_[mark], &length, sizeof length);
}

const std::vector<uint8_t>& Request::finish(uint32_t sequence) {
  auto length = static_cast<uint32_t>(bytes_.size());
  memcpy(&bytes_[offsetof(nlmsghdr, nlmsg_len)], &length, sizeof length);
  memcpy(&bytes_[offsetof(nlmsghdr, nlmsg_seq)], &sequence, sizeof sequence);
  return bytes_;
}

NetlinkSocket::~NetlinkSocket() {
  if (fd_ >= 0) ::close(fd_);
}

int NetlinkSocket::open(int protocol) {
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd_ < 0) return errno;
  timeval patience = {2, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int on = 1;
  // Errors need not repeat the request.
  setsockopt(fd_, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  buffer_.resize(64 * 1024);
  return 0;
}

int NetlinkSocket::open_in(const std::string& path, int protocol, std::string* step) {
  struct Visit {
    NetlinkSocket* socket;
    const std::string* path;
    int protocol;
    std::string* step;
    int error;
  } visit = {this, &path, protocol, step, 0};
  uv_thread_t thread;
  int refused = uv_thread_create(
      &thread,
      [](void* data) {
        auto* visit = static_cast<Visit*>(data);
        *visit->step = "open `" + *visit->path + "`";
        int descriptor = ::open(visit->path->c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor < 0) {
          visit->error = errno;
          return;
        }
        *visit->step = "setns `" + *visit->path + "`";
        visit->error = setns(descriptor, CLONE_NEWNET) == 0 ? 0 : errno;
        ::close(descriptor);
        if (visit->error != 0) return;
        *visit->step = "netlink socket in `" + *visit->path + "`";
        visit->error = visit->socket->open(visit->protocol);
      },
      &visit);
  if (refused != 0) {
    *step = "thread";
    return -refused;
  }
  uv_thread_join(&thread);
  return visit.error;
}

int NetlinkSocket::exchange(Request& request) {
  return exchange(request, [](const Message&) {});
}

int NetlinkSocket::exchange(Request& request, const std::function<void(const Message&)>& on_message) {
  const uint32_t sequence = ++sequence_;
  const std::vector<uint8_t>& bytes = request.finish(sequence);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno;
  bool interrupted = false;
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t sender_length = sizeof sender;
    ssize_t received = recvfrom(fd_, buffer_.data(), buffer_.size(), 0, reinterpret_cast<sockaddr*>(&sender),
                                &sender_length);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return errno == EAGAIN ? ETIMEDOUT : errno;
    if (sender.nl_pid != 0) continue;  // not from the kernel
    size_t left = static_cast<size_t>(received);
    const uint8_t* data = buffer_.data();
    while (left >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      memcpy(&header, data, sizeof header);
      if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > left) break;
      const Message message = {header.nlmsg_type, data + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN};
      if (header.nlmsg_seq == sequence) {  // else the late answer to a request that timed out
        if (header.nlmsg_flags & NLM_F_DUMP_INTR) interrupted = true;
        if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
          // Both begin with an int: 0 or a negative errno.
          int error = 0;
          if (message.length >= sizeof error) memcpy(&error, message.data, sizeof error);
          if (error != 0) return -error;
          return interrupted ? EINTR : 0;
        }
        on_message(message);
      }
      size_t step = NLMSG_ALIGN(header.nlmsg_len);
      if (step > left) break;
      data += step;
      left -= step;
    }
  }
}

uint32_t NetlinkSocket::reserve(uint32_t count) {
  const uint32_t first = sequence_ + 1;
  sequence_ += count;
  return first;
}

int NetlinkSocket::exchange_many(const std::vector<uint8_t>& requests, uint32_t first, size_t count,
                                 const std::function<void(size_t, const Message&)>& on_answer) {
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd_, requests.data(), requests.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno;
  for (size_t answered = 0; answered < count;) {
    sockaddr_nl sender = {};
    socklen_t sender_length = sizeof sender;
    ssize_t received = recvfrom(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT,
                                reinterpret_cast<sockaddr*>(&sender), &sender_length);
    if (received < 0 && errno == EINTR) continue;
    // ENOBUFS: an answer was lost for want of room. Its row stays as it was.
    if (received < 0 && errno == ENOBUFS) continue;
    if (received < 0) return errno == EAGAIN ? 0 : errno;
    if (sender.nl_pid != 0) continue;
    nlmsghdr header;
    if (static_cast<size_t>(received) < sizeof header) continue;
    memcpy(&header, buffer_.data(), sizeof header);
    const uint32_t index = header.nlmsg_seq - first;
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > static_cast<size_t>(received) || index >= count) continue;
    answered++;
    on_answer(index, {header.nlmsg_type, buffer_.data() + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN});
  }
  return 0;
}

}  // namespace tidesman
