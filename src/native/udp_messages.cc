// The reply leaves from the address that was asked (IP_PKTINFO, IPV6_PKTINFO); where the peer or we are link-local, also by
// the interface that was asked.
#include "udp_messages.h"

#include <arpa/inet.h>
#include <string.h>

namespace tidesman {

void Messages::reserve(size_t count) {
  headers_.resize(count);
  vectors_.resize(count);
  names_.resize(count);
  controls_.resize(count);
}

void ReceiveMessages::reserve(size_t count) {
  if (count > size()) Messages::reserve(count);
  prepared_ = nullptr;
}

void ReceiveMessages::forget(const UdpSocket& socket) {
  if (prepared_ == &socket) prepared_ = nullptr;
}

void ReceiveMessages::prepare(const UdpSocket& socket, const Slots& slots) {
  if (prepared_ == &socket) return;
  prepared_ = &socket;
  for (uint32_t index = 0; index < socket.batch; index++) {
    vectors_[index] = {slots.bytes(socket.first_slot + index), slots.size};
    msghdr& header = headers_[index].msg_hdr;
    header = {};
    header.msg_iov = &vectors_[index];
    header.msg_iovlen = 1;
    if (socket.connected) continue;
    header.msg_name = &names_[index];
    header.msg_namelen = sizeof names_[index];
    header.msg_control = &controls_[index];
    header.msg_controllen = sizeof controls_[index];
  }
}

int ReceiveMessages::receive(const UdpSocket& socket, const Slots& slots) {
  prepare(socket, slots);
  return recvmmsg(socket.fd, headers_.data(), socket.batch, MSG_DONTWAIT, nullptr);
}

bool ReceiveMessages::decode(const UdpSocket& socket, const Slots& slots, uint32_t index) {
  msghdr& header = headers_[index].msg_hdr;
  int32_t* row = slots.row(socket.first_slot + index);
  const bool whole = (header.msg_flags & MSG_TRUNC) == 0;
  memset(row, 0, kSlotStride * sizeof *row);
  row[kReceived] = whole ? static_cast<int32_t>(headers_[index].msg_len) : 0;
  row[kFamily] = socket.v6 ? 6 : 4;
  const UdpAddress& peer = socket.connected ? socket.peer : names_[index];
  if (socket.v6) {
    row[kPeerPort] = ntohs(peer.v6.sin6_port);
    memcpy(&row[kPeerAddress], &peer.v6.sin6_addr, sizeof peer.v6.sin6_addr);
    row[kPeerScope] = static_cast<int32_t>(peer.v6.sin6_scope_id);
  } else {
    row[kPeerPort] = ntohs(peer.v4.sin_port);
    memcpy(&row[kPeerAddress], &peer.v4.sin_addr, sizeof peer.v4.sin_addr);
  }
  if (socket.connected) return whole;
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO &&
        control->cmsg_len >= CMSG_LEN(sizeof(in_pktinfo))) {
      in_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      row[kInterface] = info.ipi_ifindex;
      // Of a unicast datagram this is its destination, of a broadcast one the address that may answer.
      memcpy(&row[kLocalAddress], &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO &&
               control->cmsg_len >= CMSG_LEN(sizeof(in6_pktinfo))) {
      in6_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      row[kInterface] = static_cast<int32_t>(info.ipi6_ifindex);
      memcpy(&row[kLocalAddress], &info.ipi6_addr, sizeof info.ipi6_addr);
    }
  }
  header.msg_namelen = sizeof names_[index];
  header.msg_controllen = sizeof controls_[index];
  header.msg_flags = 0;
  return whole;
}

bool SendMessages::fill(const UdpSocket& socket, const Slots& slots, uint32_t slot, size_t index) {
  const int32_t* row = slots.row(slot);
  const int32_t length = row[kLength];
  if (length < 1 || static_cast<uint32_t>(length) > slots.size) return false;
  msghdr& header = headers_[index].msg_hdr;
  header = {};
  vectors_[index] = {slots.bytes(slot), static_cast<size_t>(length)};
  header.msg_iov = &vectors_[index];
  header.msg_iovlen = 1;
  if (socket.connected) return true;
  const int32_t port = row[kPeerPort];
  if (row[kFamily] != (socket.v6 ? 6 : 4) || port < 1 || port > UINT16_MAX) return false;
  UdpAddress& name = names_[index];
  name = {};
  header.msg_name = &name;
  header.msg_namelen = address_size(socket.v6);
  if (!socket.v6) {
    name.v4.sin_family = AF_INET;
    name.v4.sin_port = htons(static_cast<uint16_t>(port));
    memcpy(&name.v4.sin_addr, &row[kPeerAddress], sizeof name.v4.sin_addr);
    in_pktinfo info = {};
    memcpy(&info.ipi_spec_dst, &row[kLocalAddress], sizeof info.ipi_spec_dst);
    if (info.ipi_spec_dst.s_addr != INADDR_ANY) attach(index, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    return true;
  }
  name.v6.sin6_family = AF_INET6;
  name.v6.sin6_port = htons(static_cast<uint16_t>(port));
  memcpy(&name.v6.sin6_addr, &row[kPeerAddress], sizeof name.v6.sin6_addr);
  name.v6.sin6_scope_id = static_cast<uint32_t>(row[kPeerScope]);
  in6_pktinfo info = {};
  memcpy(&info.ipi6_addr, &row[kLocalAddress], sizeof info.ipi6_addr);
  if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) || IN6_IS_ADDR_LINKLOCAL(&name.v6.sin6_addr)) {
    info.ipi6_ifindex = static_cast<unsigned>(row[kInterface]);
  }
  // A group can be asked, but cannot answer: the kernel then chooses the address.
  if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) info.ipi6_addr = in6addr_any;
  if (!IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr) || info.ipi6_ifindex != 0) {
    attach(index, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
  return true;
}

void SendMessages::attach(size_t index, int level, int type, const void* data, size_t length) {
  Control& control = controls_[index];
  control = {};
  control.header.cmsg_level = level;
  control.header.cmsg_type = type;
  control.header.cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(&control.header), data, length);
  headers_[index].msg_hdr.msg_control = &control;
  headers_[index].msg_hdr.msg_controllen = CMSG_SPACE(length);
}

int SendMessages::send(const UdpSocket& socket, size_t first, size_t end) {
  return sendmmsg(socket.fd, &headers_[first], static_cast<unsigned>(end - first), MSG_DONTWAIT);
}

}  // namespace tidesman
