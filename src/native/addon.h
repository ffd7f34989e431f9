// What one environment (main thread or worker) holds: nothing here is shared between two, and all of it is given back
// when the environment ends, however it ends.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <functional>
#include <memory>
#include <unordered_set>

#include "netlink.h"

namespace tidesman {

// Something open that must be closed with its environment.
class Closable {
 public:
  virtual ~Closable() = default;
  virtual void close() = 0;
};

class Addon {
 public:
  explicit Addon(napi_env env);
  static Addon* of(napi_env env);

  napi_env env() const { return env_; }
  uv_loop_t* loop() const { return loop_; }
  void add(Closable* open) { open_.insert(open); }
  void remove(Closable* open) { open_.erase(open); }
  void poller_opened() { pollers_++; }
  void poller_closed();

  // One socket for all ipset calls of this environment, opened by the first, and what it agreed on with the kernel.
  NetlinkSocket ipset_socket;
  uint8_t ipset_protocol = 0;
  // The same for lookups of flows.
  NetlinkSocket conntrack_socket;

 private:
  static void clean_up(napi_async_cleanup_hook_handle handle, void* data);
  void finish();

  napi_env env_;
  uv_loop_t* loop_ = nullptr;
  std::unordered_set<Closable*> open_;
  size_t pollers_ = 0;
  bool ending_ = false;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

// Waits for a descriptor to become readable, on the environment's loop. Owns itself until `close`, which also closes
// the descriptor; the memory goes when libuv has let go of it.
class Poller {
 public:
  // `readable` is called with 0, or with the socket's pending error (SO_ERROR), which is then consumed. Returns null
  // with the descriptor still the caller's when libuv refuses it; `error` is then an errno.
  static Poller* open(Addon* addon, int fd, std::function<void(int)> readable, int* error);
  void close();

 private:
  Poller(Addon* addon, int fd, std::function<void(int)> readable)
      : addon_(addon), fd_(fd), readable_(std::move(readable)) {}
  static void on_event(uv_poll_t* handle, int status, int events);

  Addon* addon_;
  int fd_;
  std::function<void(int)> readable_;
  uv_poll_t handle_ = {};
  bool closing_ = false;
};

// Functions of the addon, by file.
napi_value open_packet_queue(napi_env env, napi_callback_info info);
napi_value packet_queue_verdict(napi_env env, napi_callback_info info);
napi_value packet_queue_overruns(napi_env env, napi_callback_info info);
napi_value close_packet_queue(napi_env env, napi_callback_info info);
napi_value open_udp_arena(napi_env env, napi_callback_info info);
napi_value open_udp_socket(napi_env env, napi_callback_info info);
napi_value flush_udp_arena(napi_env env, napi_callback_info info);
napi_value close_udp_arena(napi_env env, napi_callback_info info);
napi_value udp_socket_refused(napi_env env, napi_callback_info info);
napi_value close_udp_socket(napi_env env, napi_callback_info info);
napi_value list_links(napi_env env, napi_callback_info info);
napi_value set_link(napi_env env, napi_callback_info info);
napi_value watch_links(napi_env env, napi_callback_info info);
napi_value unwatch_links(napi_env env, napi_callback_info info);
napi_value change_ipset(napi_env env, napi_callback_info info);
napi_value delete_conntrack(napi_env env, napi_callback_info info);
napi_value mark_conntrack(napi_env env, napi_callback_info info);
napi_value conntrack_states(napi_env env, napi_callback_info info);
napi_value reset_connections(napi_env env, napi_callback_info info);
napi_value list_listeners(napi_env env, napi_callback_info info);
napi_value open_domain_set(napi_env env, napi_callback_info info);
napi_value watch_readable(napi_env env, napi_callback_info info);
napi_value unwatch_readable(napi_env env, napi_callback_info info);
napi_value build_domains(napi_env env, napi_callback_info info);

}  // namespace tidesman
