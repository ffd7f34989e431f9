// Tells when a file of the kernel (a trace_pipe) has something to read; Node itself waits only for sockets, pipes and
// terminals. What stands there the caller reads, by its own descriptor.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "addon.h"
#include "binding.h"

namespace tidesman {
namespace {

class ReadableWatch : public Closable {
 public:
  static constexpr napi_type_tag kTag = {0x2c7be1904d5a4c1b, 0xa60f3d82971e5b06};

  static napi_value open(napi_env env, int descriptor, napi_value on_readable) {
    auto watch = std::make_shared<ReadableWatch>();
    watch->addon_ = Addon::of(env);
    // A duplicate, so that the caller may close its own whenever it likes.
    const int fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return throw_errno(env, errno, "duplicate the descriptor");
    int error = 0;
    watch->callback_ = std::make_shared<Callback>(env, on_readable, "TidesmanReadableWatch");
    watch->poller_ = Poller::open(
        watch->addon_, fd,
        [watch](int) {
          const std::shared_ptr<Callback> callback = watch->callback_;
          if (callback != nullptr) callback->call(true, nullptr, 0);
        },
        &error);
    if (error != 0) {
      ::close(fd);
      return throw_errno(env, error, "watch the descriptor");
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
  Addon* addon_ = nullptr;
  Poller* poller_ = nullptr;
  std::shared_ptr<Callback> callback_;
};
constexpr napi_type_tag ReadableWatch::kTag;

}  // namespace

// watchReadable(descriptor, onReadable) -> handle
napi_value watch_readable(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const uint32_t descriptor = arguments.number(0);
  napi_value on_readable = arguments.function(1);
  if (!arguments.ok()) return arguments.fail();
  return ReadableWatch::open(env, static_cast<int>(descriptor), on_readable);
}

// unwatchReadable(handle)
napi_value unwatch_readable(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  auto watch = arguments.wrapped<ReadableWatch>(0);
  if (!arguments.ok()) return arguments.fail();
  watch->close();
  return nullptr;
}

}  // namespace tidesman
