#include "shm/watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace banyan::shm {

Result<std::unique_ptr<Watch>> Watch::start(std::shared_ptr<Segment> segment,
                                            std::function<void()> on_change) {
  std::unique_ptr<Watch> watch(new Watch);
  watch->segment_ = std::move(segment);
  watch->on_change_ = std::move(on_change);
  watch->event_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watch->event_) return system_error("eventfd", errno);
  const std::uint32_t seen = watch->segment_->reader().changes();
  try {
    watch->thread_ =
        std::jthread([self = watch.get(), seen](const std::stop_token& stop) { self->run(stop, seen); });
  } catch (const std::system_error& error) {
    return system_error("a thread", error.code().value());
  }
  return watch;
}

void Watch::tell() const {
  const std::uint64_t one = 1;
  // Refused only when it has not been read two to the 64 times.
  if (::write(event_.get(), &one, sizeof one) < 0) return;
  if (on_change_) on_change_();
}

void Watch::acknowledge() const {
  std::uint64_t count = 0;
  if (::read(event_.get(), &count, sizeof count) < 0) return;  // there was nothing to acknowledge
}

void Watch::run(const std::stop_token& stop, std::uint32_t seen) const {
  const RowReader reader = segment_->reader();
  for (;;) {
    Result<Done> changed = reader.wait_change(seen, kForever, stop);
    if (stop.stop_requested()) return;
    seen = reader.changes();
    tell();
    if (!changed) return;  // the end, or the owner's death
  }
}

}  // namespace banyan::shm
