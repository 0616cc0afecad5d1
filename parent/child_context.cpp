#include "parent/child_context.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/nonblocking.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr Nanos kFlushPeriod = 5 * kMillisecond;

}  // namespace

ChildContext::Services::Services(Loop& loop, Router& router, ImageStore& images,
                                 const Runner::Transports* transports, const Identity& identity)
    : exec(loop, router),
      info(loop, router, exec),
      ids(router, {identity.first_id, identity.id_count}),
      routes(router, ids),
      runner(loop, router, images, ids, routes, transports),
      starts(router, runner) {
  runner.set_log_level(identity.log_level);
  runner.set_limits(identity.limits);
}

ChildContext::ChildContext(Loop& loop, ImageStore& images, Owner& owner, const Runner::Transports* transports)
    : loop_(loop),
      images_(images),
      owner_(owner),
      transports_(transports),
      router_(loop, RouterConfig{.id = 0, .sideways = Sideways::kVertical, .ancestors = {}, .inbox = {}}) {}

ChildContext::~ChildContext() {
  *alive_ = false;
  loop_.cancel(deadline_);
  loop_.cancel(flush_);
  if (!link_) return;
  link_->close();  // later destroyed: it may be in the middle of handing us a frame
  loop_.post([link = std::move(link_)] {});
}

bool ChildContext::take_standard_link(LinkFds& fds) {
  struct stat in {
  }, out{};
  if (::fstat(0, &in) != 0 || ::fstat(1, &out) != 0) return false;
  const bool one_socket = S_ISSOCK(in.st_mode) && in.st_dev == out.st_dev && in.st_ino == out.st_ino;
  Result<Fd> reading = private_nonblocking(0, false);
  if (!reading) return false;
  fds = {reading->get(), reading->get()};
  Fd writing;
  if (!one_socket) {
    Result<Fd> made = private_nonblocking(1, true);
    if (!made) return false;
    writing = std::move(*made);
    fds.write = writing.get();
  }
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(null, 1) < 0) return false;
  ::close(null);
  reading->release();
  writing.release();
  return true;
}

void ChildContext::begin(LinkFds fds, std::uint64_t nonce, Nanos identity_deadline) {
  nonce_ = nonce;
  link_ = std::make_unique<Link>(loop_, fds, static_cast<Link::Owner&>(*this), LinkLimits{},
                                 router_.window_budget(), true);
  link_->send_control(handshake_header(kHello), Hello::of_this_process(nonce).encode());
  deadline_ = loop_.after(identity_deadline, [this] { finish(nullptr); });
}

void ChildContext::on_frame(Link&, const Header& header, Bytes payload) {
  if (!header.has(kControl) || header.handle != kIdentity || services_ || ending_) return;
  const Result<Identity> identity = Identity::decode(payload);
  if (!identity) return finish(&identity.error());
  loop_.cancel(deadline_);
  router_.configure(identity->router_config());
  router_.on_shutdown = [this](Nanos remaining) { end(std::min(remaining, router_.end_deadline())); };
  link_->set_limits(identity->limits);
  services_ = std::make_unique<Services>(loop_, router_, images_, transports_, *identity);
  logger_.set_level(LogLevel(std::min<std::uint8_t>(identity->log_level, kLogLevelCount - 1)));
  const Alive alive = alive_;
  owner_.on_context_up();
  if (!*alive) return;
  router_.set_parent(std::move(link_), [this](const Error& error) {
    end();
    owner_.on_parent_lost(error);
  });
  if (logger_.wants(LogLevel::kDebug))
    logger_.log(LogLevel::kDebug, cat("up as context ", identity->id, ", process ", ::getpid()));
}

void ChildContext::on_down(Link&, const Error& error, FrameQueue) {
  finish(&error);
}

void ChildContext::end() {
  end(router_.end_deadline());
}

// Ends the commands and the contexts beneath us, lets their outcomes out, and leaves. Once.
void ChildContext::end(Nanos within) {
  if (std::exchange(ending_, true)) return;
  loop_.cancel(deadline_);
  deadline_ = loop_.after(services_ ? within : 0, [this] { finish(nullptr); });
  if (!services_) return;
  services_->starts.close();
  services_->exec.shut_down([this] { leave_when_both_are_done(); });
  services_->runner.shut_down_all(std::max(within - kEndOfLevel, Nanos(0)),
                                  [this] { leave_when_both_are_done(); });
}

void ChildContext::leave_when_both_are_done() {
  if (++done_ == 2) leave_when_flushed(0);
}

// In the next round, when the last outcomes are written; later only if the kernel would not take them.
void ChildContext::leave_when_flushed(Nanos delay) {
  flush_ = loop_.after(delay, [this] {
    const Link* parent = router_.parent_link();
    if (parent == nullptr || !parent->is_open() || !parent->has_unsent()) return finish(nullptr);
    leave_when_flushed(kFlushPeriod);
  });
}

// Always the last that whoever calls it does: the owner may destroy us.
void ChildContext::finish(const Error* why) {
  ending_ = true;
  if (!std::exchange(finished_, true)) owner_.on_context_end(why);
}

}  // namespace banyan
