#include "addon.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tidesman {

Addon::Addon(napi_env env) : env_(env) {
  napi_get_uv_event_loop(env, &loop_);
  // Asynchronous: the environment waits until libuv has closed our handles, which takes a turn of the loop.
  napi_add_async_cleanup_hook(env, clean_up, this, &cleanup_);
}

Addon* Addon::of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return static_cast<Addon*>(data);
}

void Addon::clean_up(napi_async_cleanup_hook_handle, void* data) {
  auto* addon = static_cast<Addon*>(data);
  addon->ending_ = true;
  while (!addon->open_.empty()) (*addon->open_.begin())->close();
  if (addon->pollers_ == 0) addon->finish();
}

void Addon::poller_closed() {
  pollers_--;
  if (ending_ && pollers_ == 0) finish();
}

void Addon::finish() {
  napi_async_cleanup_hook_handle cleanup = cleanup_;
  delete this;
  napi_remove_async_cleanup_hook(cleanup);
}

Poller* Poller::open(Addon* addon, int fd, std::function<void(int)> readable, int* error) {
  auto* poller = new Poller(addon, fd, std::move(readable));
  poller->handle_.data = poller;
  *error = -uv_poll_init(addon->loop(), &poller->handle_, fd);
  if (*error != 0) {
    delete poller;
    return nullptr;
  }
  addon->poller_opened();
  *error = -uv_poll_start(&poller->handle_, UV_READABLE, on_event);
  if (*error != 0) {
    poller->fd_ = -1;
    poller->close();
    return nullptr;
  }
  return poller;
}

void Poller::on_event(uv_poll_t* handle, int status, int) {
  auto* poller = static_cast<Poller*>(handle->data);
  if (status >= 0) {
    poller->readable_(0);
    return;
  }
  // libuv stops the handle when epoll flags an error (uv__poll_io, UV_EBADF). On our sockets that is an ICMP error or
  // an overrun, which reading SO_ERROR clears: go on. A descriptor that has no SO_ERROR is gone: stay stopped.
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(poller->fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return;
  poller->readable_(error);
  if (!poller->closing_) uv_poll_start(handle, UV_READABLE, on_event);
}

void Poller::close() {
  if (closing_) return;
  closing_ = true;
  uv_poll_stop(&handle_);
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
    auto* poller = static_cast<Poller*>(handle->data);
    Addon* addon = poller->addon_;
    delete poller;
    addon->poller_closed();
  });
  // libuv has taken the descriptor out of epoll by now; the kernel may free the port at once.
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace tidesman

NAPI_MODULE_INIT() {
  using namespace tidesman;
  auto* addon = new Addon(env);
  napi_set_instance_data(env, addon, nullptr, nullptr);
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"openPacketQueue", open_packet_queue},
      {"packetQueueVerdict", packet_queue_verdict},
      {"packetQueueOverruns", packet_queue_overruns},
      {"closePacketQueue", close_packet_queue},
      {"openUdpArena", open_udp_arena},
      {"openUdpSocket", open_udp_socket},
      {"flushUdpArena", flush_udp_arena},
      {"closeUdpArena", close_udp_arena},
      {"udpSocketRefused", udp_socket_refused},
      {"closeUdpSocket", close_udp_socket},
      {"listLinks", list_links},
      {"setLink", set_link},
      {"watchLinks", watch_links},
      {"unwatchLinks", unwatch_links},
      {"changeIpset", change_ipset},
      {"deleteConntrack", delete_conntrack},
      {"markConntrack", mark_conntrack},
      {"conntrackStates", conntrack_states},
      {"resetConnections", reset_connections},
      {"listListeners", list_listeners},
      {"openDomainSet", open_domain_set},
      {"watchReadable", watch_readable},
      {"unwatchReadable", unwatch_readable},
      {"buildDomains", build_domains},
  };
  for (const auto& entry : functions) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
  return exports;
}
