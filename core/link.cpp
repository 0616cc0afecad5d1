#include "core/link.h"

#include <algorithm>
#include <utility>

#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kReadBufferBytes =
    256 * 1024;  // the sweet spot of socket reads; touched only as far as used
constexpr std::size_t kStagedMax =
    256 * 1024;  // how far ahead of the kernel we encode: bounds what waits before control
constexpr std::size_t kWriteThroughMin =
    16 * 1024;                     // payloads from here on go to the kernel without being copied
constexpr int kLastReadsMax = 64;  // after a failed write: what the peer said before it went
constexpr std::uint64_t kCreditMax = std::uint64_t(1) << 40;  // nobody grants more and means it
constexpr Nanos kRefillEvery = 10 * kMillisecond;  // of control: so that little is lost by rounding
constexpr std::uint32_t kAnswersFactor = 4;        // of the queue of control: what answers data may have
constexpr std::uint32_t kPausingShare = 2;  // of the queue of control: so many wait, then a child is not read
constexpr std::uint32_t kCallsShare = 4;    // of the first window, for calls and replies alone
constexpr std::uint32_t kCreditShare = 4;   // credit is given back in quarters of the window
constexpr std::uint32_t kDrainedShare = 8;  // "drained": no more than this share of the window is held

constexpr std::uint32_t kFrameMax = kHeaderBytes + kFramePayloadMax;

Error protocol_error(std::string_view text) {
  return Error{ErrorClass::kProtocol, Phase::kLink, text};
}
Error lost(std::string_view text) {
  Error error{ErrorClass::kLost, Phase::kLink, text};
  error.started = Started::kUnknown;
  return error;
}

Header control_header(Handle handle) {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.handle = handle;
  return header;
}

// What others leave of the credit for calls and replies; a full frame must fit beside it.
std::size_t kept_for_calls(std::uint32_t window) {
  return std::min(window / kCallsShare, window - std::min(window, kFrameMax));
}

Buffer pack_number(std::uint64_t number) {
  return Packer().array(1).number(number).take();
}

bool unpack_number(Bytes payload, std::uint64_t& number) {
  Unpacker in(payload);
  if (in.array() != 1) return false;
  number = in.number();
  return in.finish();
}

}  // namespace

Link::Link(Loop& loop, LinkFds fds, Owner& owner, const LinkLimits& limits, WindowBudget& budget,
           bool to_parent)
    : loop_(loop),
      fds_(fds),
      owner_(&owner),
      limits_(limits),
      budget_(budget),
      to_parent_(to_parent),
      window_(limits.window),
      last_frame_(loop.now()),
      control_refill_(loop.now()),
      control_left_(limits.control_per_second),
      credit_(limits.window) {
  ASSERT(fds.read >= 0 && fds.write >= 0);
  read_watch_ = loop_.watch(fds_.read, {.read = true}, [this](Ready ready) { on_ready(ready); });
  arm_silence_timer();
}

Link::~Link() {
  close();
  *alive_ = false;
}

void Link::set_limits(const LinkLimits& limits) {
  // Windows are as both ends assumed them when the link was made; only times and rates change.
  const std::uint32_t window = limits_.window;
  limits_ = limits;
  limits_.window = window;
  limits_.window_max = std::max(limits.window_max, window);
}

void Link::close() {
  if (!is_open()) return;
  loop_.unwatch(read_watch_);
  if (write_watch_ != 0) loop_.unwatch(write_watch_);
  loop_.cancel(silence_timer_);
  if (fds_.write != fds_.read) loop_.close(fds_.write);
  loop_.close(fds_.read);
  fds_ = {};
  budget_.left += window_ - limits_.window;
}

void Link::fail(Error error) {
  go_down(std::move(error));
}

// The owner is told from the loop: it may be in the middle of handing us a frame.
void Link::go_down(Error error) {
  if (!is_open()) return;
  close();
  loop_.post([this, alive = alive_, error = std::move(error)] {
    if (*alive) owner_->on_down(*this, error, drain());
  });
}

// --- in ---

void Link::on_ready(Ready ready) {
  if (ready.write && is_open()) on_room();
  if (ready.read && is_open()) on_readable();
}

void Link::take_early_bytes(Bytes bytes) {
  ASSERT(in_end_ == 0 && bytes.size() <= kReadBufferBytes);
  if (bytes.empty()) return;
  in_ = std::make_unique_for_overwrite<std::uint8_t[]>(kReadBufferBytes);
  std::copy(bytes.begin(), bytes.end(), in_.get());
  in_end_ = bytes.size();
  loop_.post([this, alive = alive_] {
    if (*alive && is_open()) decode();
  });
}

// False when there was nothing to read.
bool Link::on_readable() {
  if (!in_) in_ = std::make_unique_for_overwrite<std::uint8_t[]>(kReadBufferBytes);
  if (in_begin_ > 0 && kReadBufferBytes - in_end_ < kHeaderBytes + kFramePayloadMax) {
    std::copy(in_.get() + in_begin_, in_.get() + in_end_, in_.get());
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  const IoResult result = loop_.read(fds_.read, in_.get() + in_end_, kReadBufferBytes - in_end_);
  switch (result.status) {
    case IoResult::Status::kWouldBlock:
      return false;
    case IoResult::Status::kEnd:
      go_down(lost(in_begin_ == in_end_ ? "the link was closed by the other side"
                                        : "the link ended inside a frame"));
      return false;
    case IoResult::Status::kError:
      go_down(system_error(ErrorClass::kLost, Phase::kLink, "reading the link", result.error));
      return false;
    case IoResult::Status::kOk:
      in_end_ += result.bytes;
      decode();
      return true;
  }
  return false;
}

void Link::decode() {
  const Nanos now = loop_.now();
  refill_control(now);
  while (is_open() && !is_paused() && in_end_ - in_begin_ >= kHeaderBytes) {
    const Result<Header> header = decode_header(in_.get() + in_begin_);
    if (!header) return go_down(header.error());
    if (in_end_ - in_begin_ < header->wire_bytes()) break;
    const Bytes payload(in_.get() + in_begin_ + kHeaderBytes, header->length);
    in_begin_ += header->wire_bytes();
    last_frame_ = now;
    frame_began_ = 0;
    on_hold_ = false;
    if (watcher_) watcher_(false, *header);
    if (header->has(kControl)) {
      if (!take_control_token(*header)) return go_down(protocol_error("control frames faster than allowed"));
      if (on_link_control(*header, payload)) continue;
    } else {
      const std::size_t used = std::size_t(held_) + uncredited_ + header->wire_bytes();
      if (used > window_) return go_down(protocol_error("the link window was overrun"));
      held_ += std::uint32_t(header->wire_bytes());
      received_since_growth_ += std::uint32_t(header->wire_bytes());
      peer_waits_ = false;
    }
    owner_->on_frame(*this, *header, payload);
  }
  if (in_begin_ == in_end_) {
    in_begin_ = in_end_ = 0;
  } else if (frame_began_ == 0) {
    frame_began_ = now;
  }
  if (is_open() && is_paused()) set_reading(false);
}

// A window of small frames may ask for more answers than the queue of control holds. A child that passes on
// what its own children ask is not to blame, so it is not read until it has read. Never so a parent: then two
// could wait for each other.
bool Link::is_paused() const {
  return is_held_up_ ||
         (!to_parent_ && control_of_ours_ + answers_ > limits_.control_queue_max / kPausingShare);
}

bool Link::is_crowded_by(std::uint32_t origin) const {
  const auto waiting = control_of_origin_.find(origin);
  return waiting != control_of_origin_.end() && waiting->second > limits_.control_queue_max / kPausingShare;
}

void Link::resume() {
  if (std::exchange(is_held_up_, false)) read_on();
}

void Link::read_on() {
  loop_.post([this, alive = alive_] {
    if (!*alive || !is_open()) return;
    set_reading(true);
    decode();
  });
}

void Link::set_reading(bool reading) {
  is_reading_ = reading;
  loop_.change(read_watch_, {.read = reading, .write = fds_.write == fds_.read && waiting_for_room_});
}

// What a child may send for free is counted. Link credit ends here, and stream credit is paid for by the data
// it answers. The parent may do with us what it likes anyway; what it passes on is mostly not its own, nor
// what it answers to what we passed on.
bool Link::take_control_token(const Header& header) {
  if (to_parent_ || header.handle == kLinkCredit) return true;
  if (control_left_ == 0) return false;
  --control_left_;
  return true;
}

// Never more than a second's worth: what a hop's children may say at once, the hop may say at once.
void Link::refill_control(Nanos now) {
  const Nanos passed = std::min(now - control_refill_, kSecond);
  if (passed < kRefillEvery) return;
  control_refill_ = now;
  const std::uint64_t earned = std::uint64_t(passed) * control_rate() / std::uint64_t(kSecond);
  control_left_ = std::uint32_t(std::min(control_left_ + earned, control_rate()));
}

// What a voice brings along it brings once: else who announces and ends contexts would earn by that.
void Link::add_voices(int count) {
  voices_ += std::uint32_t(count);
  for (; voices_welcome_ < heard_voices(); ++voices_welcome_) control_left_ += limits_.control_per_second;
}

// Each data frame that leaves may be answered by one of stream credit.
void Link::earn_control_token() {
  if (control_left_ < control_rate()) ++control_left_;
}

bool Link::on_link_control(const Header& header, Bytes payload) {
  std::uint64_t number = 0;
  switch (header.handle) {
    case kHeartbeat:
      if (!unpack_number(payload, number)) break;
      // One answer at a time: a flood of questions must not become a queue.
      if (echo_pending_) return true;
      echo_pending_ = true;
      send_control(control_header(kHeartbeatEcho), pack_number(number));
      return true;
    case kHeartbeatEcho:
      if (!unpack_number(payload, number)) break;
      if (ping_sent_ != 0 && number == std::uint64_t(ping_sent_)) {
        round_trip_ = loop_.now() - ping_sent_;
        ping_sent_ = 0;
      }
      return true;
    case kLinkCredit:
      if (!unpack_number(payload, number) || number == 0 || number > kCreditMax ||
          credit_ + number > kCreditMax)
        break;
      credit_ += number;
      blocked_told_ = false;
      flush_soon();
      return true;
    case kLinkBlocked:
      on_blocked();
      return true;
    case kHold:
      on_hold_ = true;
      return true;
    default:
      return false;
  }
  go_down(protocol_error(cat("a ", name_of_handle(header.handle), " frame that makes no sense")));
  return true;
}

// --- the window of what comes in ---

void Link::release(std::size_t bytes) {
  if (!is_open()) return;
  ASSERT(bytes <= held_);
  held_ -= std::uint32_t(bytes);
  uncredited_ += std::uint32_t(bytes);
  const std::uint32_t growth = grow();
  // Of a small window the next frame may need the last byte, and its sender has said so only once.
  const bool is_short = window_ - uncredited_ < kFrameMax + kept_for_calls(limits_.window);
  if (growth > 0 || is_short || uncredited_ >= window_ / kCreditShare) give_credit(growth);
}

void Link::give_credit(std::uint32_t growth) {
  if (uncredited_ + growth == 0) return;
  const std::uint32_t credit = uncredited_ + growth;
  uncredited_ = 0;
  send_control(control_header(kLinkCredit), pack_number(credit));
}

// The peer has data and no credit. If we have drained what it sent, the window is what holds it back: widen
// it. If we have not, somebody behind us is slow, and a wider window would only be a longer queue.
void Link::on_blocked() {
  peer_waits_ = true;
  give_credit(grow());
}

// What the peer may send more from now on. Its last data and its word that it is blocked come together,
// mostly before anybody had time to take the data: so this is asked again whenever some was taken, until more
// comes.
std::uint32_t Link::grow() {
  if (!peer_waits_ || held_ > window_ / kDrainedShare || received_since_growth_ < window_ / 2) return 0;
  const std::uint32_t growth = std::min(window_, limits_.window_max - window_);
  if (growth > budget_.left) return 0;
  budget_.left -= growth;
  window_ += growth;
  received_since_growth_ = 0;
  peer_waits_ = false;
  return growth;
}

// --- out ---

void Link::send_control(Header header, Bytes payload) {
  ASSERT(header.has(kControl));
  const bool is_answer = header.is_dead() || header.handle == kStreamCredit;
  const std::uint32_t max = limits_.control_queue_max * (is_answer ? kAnswersFactor : 1);
  if (!queue_control(is_answer ? answers_ : control_of_ours_, max, header, payload))
    go_down(Error{ErrorClass::kStalled, Phase::kLink, "the other side does not read what it asked for", {}});
}

bool Link::forward_control(std::uint32_t origin, Header header, Bytes payload) {
  ASSERT(header.has(kControl));
  return queue_control(control_of_origin_[origin], limits_.control_queue_max, header, payload);
}

// False if it would be too much. `queued`: what waits already and is counted together with it.
bool Link::queue_control(std::uint32_t& queued, std::uint32_t max, Header header, Bytes payload) {
  if (!is_open()) return true;
  header.length = std::uint32_t(payload.size());
  if (queued + header.wire_bytes() > max) return false;
  queued += std::uint32_t(header.wire_bytes());
  append_frame(control_, header, payload);
  flush_soon();
  return true;
}

void Link::encode(const Header& header, std::uint8_t* to) const {
  if (watcher_) watcher_(true, header);
  encode_header(header, to);
}

void Link::append_frame(Buffer& to, const Header& header, Bytes payload) {
  const std::size_t at = to.size();
  to.resize(at + kHeaderBytes);
  encode(header, to.data() + at);
  to.insert(to.end(), payload.begin(), payload.end());
}

void Link::send(std::uint32_t origin, const Header& header, Bytes payload) {
  ASSERT(!header.has(kControl) && header.length == payload.size());
  const bool is_large = payload.size() >= kWriteThroughMin;
  const bool has_room = is_large ? !is_full_ : staged_bytes() < kStagedMax;
  const bool is_call = header.stream < kFirstFreeStream;
  const std::size_t needed = header.wire_bytes() + (is_call ? 0 : kept_for_calls(limits_.window));
  const bool may_leave = is_open() && queued_bytes() == 0 && credit_ >= needed && has_room;
  if (!may_leave) {
    Buffer copy = is_large ? std::exchange(spare_, {}) : Buffer();
    copy.assign(payload.begin(), payload.end());
    (is_call ? calls_ : streams_).push(QueuedFrame{header, std::move(copy), origin});
    flush_soon();
    return;
  }
  credit_ -= header.wire_bytes();
  earn_control_token();
  if (is_large) {
    write_through(header, payload);
  } else {
    stage_control();  // what it announces goes before it: a route before the first message of that context
    append_frame(staged_, header, payload);
  }
  if (staged_bytes() > 0) flush_soon();
  owner_->on_sent(*this, origin, header);
}

// Hands a large payload to the kernel from where it lies; copies only what the kernel would not take.
void Link::write_through(const Header& header, Bytes payload) {
  stage_control();
  std::uint8_t encoded[kHeaderBytes];
  encode(header, encoded);
  const iovec parts[] = {{staged_.data() + staged_at_, staged_bytes()},
                         {encoded, kHeaderBytes},
                         {const_cast<std::uint8_t*>(payload.data()), payload.size()}};
  const IoResult result = loop_.write(fds_.write, parts, 3);
  std::size_t written = result.status == IoResult::Status::kOk ? result.bytes : 0;
  const std::size_t from_staged = std::min(written, staged_bytes());
  drop_written(from_staged);
  written -= from_staged;
  if (written < header.wire_bytes()) {
    const std::size_t of_header = std::min(written, kHeaderBytes);
    staged_.insert(staged_.end(), encoded + of_header, encoded + kHeaderBytes);
    staged_.insert(staged_.end(), payload.begin() + std::ptrdiff_t(written - of_header), payload.end());
    // After an error nobody waits: the next write, of what is staged now, meets it again.
    const bool failed = result.status == IoResult::Status::kError || result.status == IoResult::Status::kEnd;
    if (!failed) wait_for_room(true);
  }
}

// The first `bytes` that were staged are the kernel's now.
void Link::drop_written(std::size_t bytes) {
  staged_at_ += bytes;
  if (staged_bytes() > 0 && staged_at_ <= kStagedMax) return;
  staged_.erase(staged_.begin(), staged_.begin() + std::ptrdiff_t(staged_at_));
  staged_at_ = 0;
}

void Link::flush_soon() {
  if (flush_posted_ || waiting_for_room_ || !is_open()) return;
  flush_posted_ = true;
  loop_.post([this, alive = alive_] {
    if (!*alive) return;
    flush_posted_ = false;
    if (is_open()) flush();
  });
}

void Link::flush() {
  for (;;) {
    // Staged, it is counted no more: one who reads slowly must not make us stage ever more.
    if (staged_bytes() < kStagedMax) stage_control();
    stage_data();
    if (is_full_) return;
    if (staged_bytes() == 0) return wait_for_room(false);
    const iovec part{staged_.data() + staged_at_, staged_bytes()};
    const IoResult result = loop_.write(fds_.write, &part, 1);
    if (result.status == IoResult::Status::kError || result.status == IoResult::Status::kEnd)
      return on_write_failed(result.error);
    if (result.status == IoResult::Status::kOk) drop_written(result.bytes);
    if (staged_bytes() > 0) return wait_for_room(true);
  }
}

void Link::stage_control() {
  if (control_.empty()) return;
  staged_.insert(staged_.end(), control_.begin(), control_.end());
  control_.clear();
  control_of_ours_ = answers_ = 0;
  echo_pending_ = false;
  if (!is_reading_) read_on();
  if (control_of_origin_.empty()) return;
  control_of_origin_.clear();
  owner_->on_control_left(*this);
}

// Calls and streams take turns, byte by byte. nullptr: nothing waits, or nothing has the credit it needs.
FrameScheduler* Link::whose_turn() {
  const auto may_leave = [this](const QueuedFrame* frame, std::size_t kept) {
    if (frame == nullptr) return false;
    if (frame->header.wire_bytes() + kept <= credit_) return true;
    if (!std::exchange(blocked_told_, true)) append_frame(staged_, control_header(kLinkBlocked), {});
    return false;
  };
  const bool call = may_leave(calls_.next(), 0);
  const bool other = may_leave(streams_.next(), kept_for_calls(limits_.window));
  if (!call || !other) calls_ahead_ = 0;
  if (call && calls_ahead_ <= 0) return &calls_;
  return other ? &streams_ : nullptr;
}

// Small frames are gathered; a large one leaves from where it lies, with all before it.
void Link::stage_data() {
  while (staged_bytes() < kStagedMax && !is_full_) {
    FrameScheduler* const turn = whose_turn();
    if (turn == nullptr) return;
    QueuedFrame frame = turn->pop();
    const auto bytes = std::int64_t(frame.header.wire_bytes());
    calls_ahead_ += turn == &calls_ ? bytes : -bytes;
    credit_ -= frame.header.wire_bytes();
    earn_control_token();
    if (frame.payload.size() < kWriteThroughMin) {
      append_frame(staged_, frame.header, frame.payload);
    } else {
      write_through(frame.header, frame.payload);
      spare_ = std::move(frame.payload);
    }
    owner_->on_sent(*this, frame.origin, frame.header);
  }
}

FrameQueue Link::drain() {
  FrameQueue all = calls_.drain();
  all.splice(all.end(), streams_.drain());
  return all;
}

FrameQueue Link::discard_frames(const Function<bool(ContextId)>& is_gone) {
  FrameQueue discarded = calls_.remove(is_gone);
  discarded.splice(discarded.end(), streams_.remove(is_gone));
  return discarded;
}

void Link::on_room() {
  is_full_ = false;
  flush();
}

void Link::wait_for_room(bool wait) {
  is_full_ = wait;
  if (wait == waiting_for_room_) return;
  waiting_for_room_ = wait;
  if (fds_.write == fds_.read) {
    loop_.change(read_watch_, {.read = is_reading_, .write = wait});
  } else if (wait) {
    write_watch_ = loop_.watch(fds_.write, {.write = true}, [this](Ready) { on_room(); });
  } else {
    // Not watched while idle: a pipe whose reader is gone reports an error for ever, asked or not.
    loop_.unwatch(write_watch_);
    write_watch_ = 0;
  }
}

// The peer may have said why before it went: hear that first.
void Link::on_write_failed(int error) {
  for (int i = 0; i < kLastReadsMax && is_open() && is_reading_ && on_readable(); ++i) {
  }
  go_down(system_error(ErrorClass::kLost, Phase::kLink, "writing to the link", error));
}

// --- silence ---

void Link::arm_silence_timer() {
  const Nanos period = limits_.heartbeat_every / 2;
  next_check_ = loop_.now() + period;
  silence_timer_ = loop_.after(period, [this] { check_silence(); });
}

void Link::check_silence() {
  const Nanos now = loop_.now();
  // We were asleep, or do not read, not the peer: what it sent may still lie unread. Ask again before
  // judging.
  if (is_held_up_ || now - next_check_ > limits_.heartbeat_every) {
    last_frame_ = now - limits_.heartbeat_every;
    if (frame_began_ != 0) frame_began_ = now;
  }
  const Nanos silent = now - last_frame_;
  const Nanos limit = to_parent_ ? limits_.parent_lost_after : limits_.lost_after;
  if (!on_hold_ && silent >= limit)
    return go_down(lost(cat("nothing was heard for ", silent / kSecond, " seconds")));
  if (frame_began_ != 0 && now - frame_began_ >= limits_.frame_deadline)
    return go_down(protocol_error("a frame was begun and not finished in time"));
  if (silent >= limits_.heartbeat_every) {
    ping_sent_ = now;
    send_control(control_header(kHeartbeat), pack_number(std::uint64_t(now)));
  }
  arm_silence_timer();
}

}  // namespace banyan
