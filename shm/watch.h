// shm/watch.h -- a descriptor that becomes readable when something shared has changed, for loops that wait
// for descriptors; or a callback.
//
// A futex is no descriptor, so a thread sleeps on it. It lives as long as the Watch, and ends by itself after
// it has told of the owner's end. Several changes may be told as one, and one as two: look what there is.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "shm/segment.h"

namespace banyan::shm {

class Watch {
 public:
  // Tells of changes since this call. `on_change` is called on the watch's own thread; without it, on
  // nobody's.
  static Result<std::unique_ptr<Watch>> start(std::shared_ptr<Segment> segment,
                                              std::function<void()> on_change = {});
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() = default;  // waits for the thread, which does not wait for anything but `on_change`

  int descriptor() const { return event_.get(); }
  // The descriptor is not readable again until the next change. Call it first, then look.
  void acknowledge() const;

 private:
  Watch() = default;
  void tell() const;
  void run(const std::stop_token& stop, std::uint32_t seen) const;

  std::shared_ptr<Segment> segment_;
  std::function<void()> on_change_;
  Fd event_;
  std::jthread thread_;  // last: it ends before the rest goes
};

}  // namespace banyan::shm
