#include "tests/simulation/sim_loop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/assert.h"

namespace banyan {

namespace {

constexpr int kFirstFd = 3;
constexpr int kSlotBits = 24;
// How rare chance is, one in so many.
constexpr std::uint64_t kWouldBlockInVain = 32, kShort = 2, kSkipReady = 4, kStopAmongTasks = 16;

std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

}  // namespace

// --- SimLoop ---

SimLoop::SimLoop(SimWorld& world, std::uint32_t index)
    : world_(world), index_(index), clock_offset_(Nanos(world.below(1u << 20)) * kSecond) {}

Nanos SimLoop::now() const {
  return world_.now_ + clock_offset_;
}

std::uint64_t SimLoop::random() {
  return world_.random();
}

void SimLoop::post(Task task) {
  if (condition_ == Condition::kKilled) return;
  posted_.push_back(std::move(task));
  world_.wake(*this);
}

Loop::TimerId SimLoop::after(Nanos delay, Task task) {
  if (condition_ == Condition::kKilled) return 0;
  const Nanos deadline = world_.now_ + std::max<Nanos>(delay, 0);
  world_.schedule(SimWorld::Event::Kind::kTimer, deadline, index_, 0);
  return timers_.add(deadline, std::move(task));
}

void SimLoop::cancel(TimerId timer) {
  timers_.cancel(timer);
}

int SimLoop::open(std::uint32_t in, std::uint32_t out) {
  std::size_t fd = kFirstFd;
  while (fd < descriptors_.size() && descriptors_[fd].is_open) ++fd;
  if (fd >= descriptors_.size()) descriptors_.resize(fd + 1);
  descriptors_[fd] = {true, in, out, 0};
  return int(fd);
}

SimLoop::Descriptor& SimLoop::at(int fd) {
  ASSERT(fd >= kFirstFd && std::size_t(fd) < descriptors_.size() && descriptors_[std::size_t(fd)].is_open);
  return descriptors_[std::size_t(fd)];
}

std::size_t SimLoop::open_descriptors() const {
  return std::size_t(std::count_if(descriptors_.begin(), descriptors_.end(),
                                   [](const Descriptor& one) { return one.is_open; }));
}

SimLoop::Watch* SimLoop::find(WatchId id) {
  const std::size_t slot = id & ((1u << kSlotBits) - 1);
  if (id == 0 || slot >= watches_.size() || watches_[slot].id != id) return nullptr;
  return &watches_[slot];
}

Loop::WatchId SimLoop::watch(int fd, Interest interest, OnReady on_ready) {
  if (condition_ == Condition::kKilled) return 0;
  Descriptor& descriptor = at(fd);
  ASSERT(descriptor.watch == 0);
  std::size_t slot = 0;
  while (slot < watches_.size() && watches_[slot].id != 0) ++slot;
  if (slot == watches_.size()) watches_.emplace_back();
  const WatchId id = next_serial_++ << kSlotBits | slot;
  descriptor.watch = id;
  watches_[slot] = {id, fd, interest, std::move(on_ready)};
  world_.wake(*this);
  return id;
}

void SimLoop::change(WatchId id, Interest interest) {
  Watch* watch = find(id);
  if (watch == nullptr) return;
  watch->interest = interest;
  world_.wake(*this);
}

void SimLoop::unwatch(WatchId id) {
  Watch* watch = find(id);
  if (watch == nullptr) return;
  at(watch->fd).watch = 0;
  const OnReady on_ready = std::move(watch->on_ready);
  *watch = Watch();
}

Ready SimLoop::readiness(const Watch& watch) const {
  const Descriptor& descriptor = descriptors_[std::size_t(watch.fd)];
  const SimWorld::Pipe& in = world_.pipes_[descriptor.in];
  const SimWorld::Pipe& out = world_.pipes_[descriptor.out];
  Ready ready;
  ready.read = watch.interest.read && (in.visible > 0 || in.ended);
  ready.write = watch.interest.write && (out.broken || out.data.size() - out.begin < out.wire.capacity);
  return ready;
}

IoResult SimLoop::read(int fd, std::uint8_t* to, std::size_t max) {
  ASSERT(max > 0);
  if (condition_ == Condition::kKilled) return {IoResult::Status::kEnd, 0, 0};
  SimWorld::Pipe& in = world_.pipes_[at(fd).in];
  if (in.visible == 0) {
    if (!in.ended) return {IoResult::Status::kWouldBlock, 0, 0};
    world_.trace("end", index_, std::uint64_t(fd), std::uint64_t(in.error));
    if (in.error != 0) return {IoResult::Status::kError, 0, in.error};
    return {IoResult::Status::kEnd, 0, 0};
  }
  if (in.wire.is_rough && world_.one_in(kWouldBlockInVain)) return {IoResult::Status::kWouldBlock, 0, 0};
  std::size_t bytes = std::min(max, in.visible);
  if (in.wire.is_rough && world_.one_in(kShort)) bytes = 1 + std::size_t(world_.below(bytes));
  std::memcpy(to, in.data.data() + in.begin, bytes);
  in.begin += bytes;
  in.visible -= bytes;
  if (in.begin == in.data.size()) {
    in.data.clear();
    in.begin = 0;
  } else if (in.begin > in.wire.capacity) {
    in.data.erase(in.data.begin(), in.data.begin() + std::ptrdiff_t(in.begin));
    in.begin = 0;
  }
  world_.trace("read", index_, std::uint64_t(fd), bytes);
  world_.wake(*in.writer);
  return {IoResult::Status::kOk, bytes, 0};
}

IoResult SimLoop::write(int fd, const iovec* parts, int count) {
  if (condition_ == Condition::kKilled) return {IoResult::Status::kError, 0, EPIPE};
  const std::uint32_t index = at(fd).out;
  SimWorld::Pipe& out = world_.pipes_[index];
  std::size_t wanted = 0;
  for (int i = 0; i < count; ++i) wanted += parts[i].iov_len;
  ASSERT(wanted > 0);
  if (out.broken) {
    world_.trace("broken", index_, std::uint64_t(fd), 0);
    return {IoResult::Status::kError, 0, EPIPE};
  }
  const std::size_t used = out.data.size() - out.begin;
  const std::size_t room = out.wire.capacity > used ? out.wire.capacity - used : 0;
  if (room == 0 || (out.wire.is_rough && world_.one_in(kWouldBlockInVain)))
    return {IoResult::Status::kWouldBlock, 0, 0};
  std::size_t bytes = std::min(room, wanted);
  if (out.wire.is_rough && world_.one_in(kShort)) bytes = 1 + std::size_t(world_.below(bytes));
  world_.trace("write", index_, std::uint64_t(fd), bytes);
  if (out.reader_closed || (out.lost && !out.silent)) return {IoResult::Status::kOk, bytes, 0};
  std::size_t left = bytes;
  for (int i = 0; left > 0; ++i) {
    const auto* from = static_cast<const std::uint8_t*>(parts[i].iov_base);
    const std::size_t part = std::min(left, parts[i].iov_len);
    out.data.insert(out.data.end(), from, from + part);
    left -= part;
  }
  if (!out.lost) world_.send(index, bytes);
  return {IoResult::Status::kOk, bytes, 0};
}

void SimLoop::close(int fd) {
  if (condition_ == Condition::kKilled) return;
  Descriptor& descriptor = at(fd);
  ASSERT(descriptor.watch == 0);
  descriptor.is_open = false;
  world_.close_end(descriptor.in, descriptor.out);
}

// As the loops of core/ do it: some of the ready descriptors, then timers, then what was posted.
bool SimLoop::run_round() {
  if (condition_ != Condition::kRunning) return false;
  std::vector<WatchId>& ready = world_.scratch_;
  ready.clear();
  for (const Watch& watch : watches_)
    if (watch.id != 0 && readiness(watch) != Ready{}) ready.push_back(watch.id);
  for (std::size_t i = ready.size(); i > 1; --i) std::swap(ready[i - 1], ready[world_.below(i)]);
  // Some of them, or none: not every loop looks at descriptors before timers and tasks.
  bool did_something = !ready.empty();
  if (!ready.empty() && world_.one_in(kSkipReady)) ready.resize(world_.below(ready.size()));
  // What is reported was true when the round began: a watcher may have emptied another's pipe since.
  std::vector<Ready> reported;
  reported.reserve(ready.size());
  for (WatchId id : ready) reported.push_back(readiness(*find(id)));
  for (std::size_t i = 0; i < ready.size(); ++i) {
    Watch* watch = find(ready[i]);
    if (watch == nullptr) continue;
    reported[i].read = reported[i].read && watch->interest.read;
    reported[i].write = reported[i].write && watch->interest.write;
    if (reported[i] == Ready{}) continue;
    world_.trace("ready", index_, std::uint64_t(watch->fd), reported[i].read + 2u * reported[i].write);
    OnReady on_ready = std::move(watch->on_ready);
    on_ready(reported[i]);
    if (condition_ == Condition::kKilled) return true;
    if (Watch* still = find(ready[i])) still->on_ready = std::move(on_ready);
  }

  if (!timers_.empty() && timers_.earliest() <= world_.now_) {
    world_.trace("timers", index_, 0, 0);
    did_something = true;
    timers_.run_due(world_.now_);
  }

  while (posted_at_ < posted_.size()) {
    did_something = true;
    const Task task = std::move(posted_[posted_at_++]);
    world_.trace("task", index_, 0, 0);
    task();
    if (condition_ == Condition::kKilled || world_.one_in(kStopAmongTasks)) break;
  }
  if (posted_at_ == posted_.size()) {
    posted_.clear();
    posted_at_ = 0;
  }
  return did_something;
}

void SimLoop::die() {
  condition_ = Condition::kKilled;
  for (Descriptor& descriptor : descriptors_)
    if (std::exchange(descriptor.is_open, false)) world_.close_end(descriptor.in, descriptor.out);
  // What these own may call back, and then finds a killed loop. Perhaps one of them is running now.
  posted_at_ = 0;
  const auto watches = std::exchange(watches_, {});
  const auto posted = std::exchange(posted_, {});
  timers_.clear();
}

// --- SimWorld ---

SimWorld::SimWorld(std::uint64_t seed) : random_state_(mix(seed)) {}

SimWorld::~SimWorld() {
  for (auto& loop : loops_) kill(*loop);
}

std::uint64_t SimWorld::random() {
  random_state_ += 0x9e3779b97f4a7c15;
  return mix(random_state_);
}

SimLoop& SimWorld::add_loop() {
  loops_.push_back(std::unique_ptr<SimLoop>(new SimLoop(*this, std::uint32_t(loops_.size()))));
  return *loops_.back();
}

std::pair<int, int> SimWorld::make_pair(SimLoop& a, SimLoop& b, const SimWire& wire) {
  const auto there = std::uint32_t(pipes_.size()), back = there + 1;
  pipes_.resize(pipes_.size() + 2);
  pipes_[there].wire = pipes_[back].wire = wire;
  pipes_[there].writer = pipes_[back].reader = &a;
  pipes_[there].reader = pipes_[back].writer = &b;
  const int first = a.open(back, there);
  return {first, b.open(there, back)};
}

bool SimWorld::is_later(const Event& a, const Event& b) {
  return a.time != b.time ? a.time > b.time : a.order > b.order;
}

void SimWorld::schedule(Event::Kind kind, Nanos time, std::uint32_t index, std::uint64_t value) {
  heap_.push_back({time, next_order_++, kind, index, value});
  std::push_heap(heap_.begin(), heap_.end(), is_later);
  if (kind != Event::Kind::kTimer) ++in_flight_;
}

void SimWorld::wake(SimLoop& loop) {
  if (loop.maybe_ready_ || loop.condition_ != SimLoop::Condition::kRunning) return;
  loop.maybe_ready_ = true;
  maybe_ready_.push_back(&loop);
}

// Puts bytes just written on their way, in one to three pieces.
void SimWorld::send(std::uint32_t index, std::size_t bytes) {
  Pipe& pipe = pipes_[index];
  while (bytes > 0) {
    const std::size_t piece = pipe.wire.is_rough && one_in(2) ? 1 + std::size_t(below(bytes)) : bytes;
    bytes -= piece;
    Nanos sent = now_;
    if (pipe.wire.bytes_per_second > 0) {
      pipe.wire_free = std::max(pipe.wire_free, now_) + Nanos(piece * kSecond / pipe.wire.bytes_per_second);
      sent = pipe.wire_free;
    }
    const Nanos jitter = pipe.wire.latency_max - pipe.wire.latency_min;
    const Nanos latency = pipe.wire.latency_min + Nanos(below(std::uint64_t(jitter) + 1));
    pipe.last_arrival = std::max(pipe.last_arrival, sent + latency);
    schedule(Event::Kind::kArrival, pipe.last_arrival, index, piece);
  }
}

void SimWorld::send_end(std::uint32_t index, int error) {
  Pipe& pipe = pipes_[index];
  if (pipe.silent) return;
  pipe.last_arrival = std::max(pipe.last_arrival, now_ + pipe.wire.latency_min);
  schedule(Event::Kind::kEnd, pipe.last_arrival, index, std::uint64_t(error));
}

void SimWorld::lose_some_in_flight(Pipe& pipe) {
  const std::size_t in_flight = pipe.data.size() - pipe.begin - pipe.visible;
  pipe.data.resize(pipe.begin + pipe.visible + std::size_t(below(in_flight + 1)));
}

// What a kernel does for a closed socket: what was written still arrives, then the end; but if something was
// left unread it is a reset, and what was written may be lost.
void SimWorld::close_end(std::uint32_t in_index, std::uint32_t out_index) {
  Pipe& in = pipes_[in_index];
  Pipe& out = pipes_[out_index];
  const bool unread = in.data.size() > in.begin;
  in.reader_closed = true;
  Buffer().swap(in.data);
  in.begin = in.visible = 0;
  trace("close", out.writer->index(), out_index, unread);
  if (out.lost) return;  // the other end was told, or never will be
  if (unread && one_in(2)) lose_some_in_flight(out);
  out.lost = true;
  send_end(out_index, unread ? ECONNRESET : 0);
}

void SimWorld::cut(SimLoop& loop, int fd) {
  const SimLoop::Descriptor& descriptor = loop.at(fd);
  trace("cut", loop.index(), std::uint64_t(fd), 0);
  for (std::uint32_t index : {descriptor.in, descriptor.out}) {
    Pipe& pipe = pipes_[index];
    if (pipe.lost) continue;
    lose_some_in_flight(pipe);
    pipe.lost = true;
    send_end(index, one_in(2) ? ECONNRESET : 0);
  }
}

void SimWorld::cut_silently(SimLoop& loop, int fd) {
  const SimLoop::Descriptor& descriptor = loop.at(fd);
  trace("silence", loop.index(), std::uint64_t(fd), 0);
  for (std::uint32_t index : {descriptor.in, descriptor.out})
    pipes_[index].lost = pipes_[index].silent = true;
}

void SimWorld::stop(SimLoop& loop) {
  trace("stop", loop.index(), 0, 0);
  if (loop.condition_ == SimLoop::Condition::kRunning) loop.condition_ = SimLoop::Condition::kStopped;
}

void SimWorld::resume(SimLoop& loop) {
  trace("resume", loop.index(), 0, 0);
  if (loop.condition_ == SimLoop::Condition::kStopped) loop.condition_ = SimLoop::Condition::kRunning;
  wake(loop);
}

void SimWorld::kill(SimLoop& loop) {
  trace("kill", loop.index(), 0, 0);
  if (loop.condition_ != SimLoop::Condition::kKilled) loop.die();
}

void SimWorld::handle(const Event& event) {
  if (event.kind == Event::Kind::kTimer) {
    wake(*loops_[event.index]);
    return;
  }
  --in_flight_;
  Pipe& pipe = pipes_[event.index];
  if (pipe.silent) return;
  if (event.kind == Event::Kind::kArrival) {
    // Fewer than were sent when some of them were lost since.
    const auto bytes = std::min<std::size_t>(event.value, pipe.data.size() - pipe.begin - pipe.visible);
    pipe.visible += bytes;
    trace("arrival", pipe.reader->index(), event.index, bytes);
  } else {
    pipe.ended = true;
    pipe.error = int(event.value);
    Pipe& back = pipes_[event.index ^ 1];
    back.broken = true;
    trace("end arrives", pipe.reader->index(), event.index, event.value);
  }
  wake(*pipe.reader);
}

void SimWorld::handle_due() {
  while (!heap_.empty() && heap_.front().time <= now_) {
    const Event event = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    heap_.pop_back();
    handle(event);
  }
}

bool SimWorld::step(Nanos limit) {
  if (now_ > limit) return false;
  handle_due();
  while (!maybe_ready_.empty()) {
    const std::size_t pick = below(maybe_ready_.size());
    SimLoop& loop = *maybe_ready_[pick];
    if (loop.run_round()) {
      now_ += round_cost_;
      return true;
    }
    // Found by index: the round may have woken others, but the list only grew.
    loop.maybe_ready_ = false;
    maybe_ready_[pick] = maybe_ready_.back();
    maybe_ready_.pop_back();
  }
  if (heap_.empty() || heap_.front().time > limit) return false;
  now_ = std::max(now_, heap_.front().time);
  handle_due();
  return true;
}

void SimWorld::run_for(Nanos duration) {
  const Nanos limit = now_ + duration;
  while (step(limit)) {
  }
  now_ = std::max(now_, limit);
}

bool SimWorld::run_until_idle(Nanos max) {
  const Nanos limit = now_ + max;
  for (;;) {
    if (in_flight_ == 0 && maybe_ready_.empty()) {
      // Due now, if only just: part of what there is to do.
      handle_due();
      if (maybe_ready_.empty()) return true;
    }
    // Nothing may be ready after all: then no further than to what is on its way.
    if (in_flight_ == 0) {
      if (!step(now_)) return true;
    } else if (!step(limit)) {
      return false;
    }
    if (now_ > limit) return false;
  }
}

void SimWorld::trace(const char* what, std::uint64_t who, std::uint64_t a, std::uint64_t b) {
  ++events_;
  std::uint64_t hash = trace_hash_ ^ std::uint64_t(now_);
  for (const char* at = what; *at != 0; ++at) hash = hash * 31 + std::uint8_t(*at);
  for (std::uint64_t part : {who, a, b}) hash = mix(hash ^ part);
  trace_hash_ = hash;
  if (trace_file_ == nullptr) return;
  std::fprintf(trace_file_, "%12lld us  node %-3llu %-11s %llu %llu\n",
               static_cast<long long>(now_ / kMicrosecond), static_cast<unsigned long long>(who), what,
               static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
}

}  // namespace banyan
