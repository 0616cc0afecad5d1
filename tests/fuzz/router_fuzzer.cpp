// Goal: whatever a hostile child sends, in well-formed frames too, nobody runs anything on an authority it
// does not have, no sibling hears from it, its forged replies complete nobody's call, and every call of ours
// is answered once. Method: a router between a parent, an honest child and one whose frames are written by
// the input, a dozen bytes a frame, out of tables of what is worth saying; it knows all handles, also those
// it could only guess.

#include <memory>
#include <string_view>

#include "core/msgpack.h"
#include "core/router.h"
#include "tests/simulation/sim_loop.h"
#include "tests/support/routers.h"

using namespace banyan;
using test::config_of;
using test::make_link;

namespace {

constexpr ContextId kRoot = 0, kUs = 1, kHostile = 2, kBeneathHostile = 3, kHonest = 4, kUnknown = 77;
constexpr Handle kForAncestors = 2'000, kForAnyone = 2'001, kForHonest = 2'002;
constexpr std::string_view kHonestReply = "from the honest one";

[[noreturn]] void never(const char* what) {
  assertion_failed(what, __FILE__, __LINE__);
}

bool is_hostile(ContextId context) {
  return context == kHostile || context == kBeneathHostile;
}

// The input, as a source of small decisions.
class Script {
 public:
  explicit Script(Bytes bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t next() {
    if (bytes_.empty()) return 0;
    const std::uint8_t byte = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return byte;
  }
  template <class T, std::size_t count>
  T pick(const T (&table)[count]) {
    return table[next() % count];
  }

 private:
  Bytes bytes_;
};

// Us, with our three neighbours.
class Scene {
 public:
  Scene()
      : world_(1),
        our_loop_(world_.add_loop()),
        raw_loop_(world_.add_loop()),
        honest_loop_(world_.add_loop()),
        us_(our_loop_, config_of(kUs, {kRoot})),
        honest_(honest_loop_, config_of(kHonest, {kUs, kRoot})) {
    const auto [up, parent] = world_.make_pair(our_loop_, raw_loop_);
    parent_fd_ = parent;
    us_.set_parent(make_link(our_loop_, up, us_, true), {});
    const auto [down, hostile] = world_.make_pair(our_loop_, raw_loop_);
    hostile_fd_ = hostile;
    us_.add_child(make_link(our_loop_, down, us_, false), kHostile, {});
    us_.grant(kHostile, {kBeneathHostile, 1});
    us_.add_route(kBeneathHostile, kHostile, kHostile);
    const auto [ours, theirs] = world_.make_pair(our_loop_, honest_loop_);
    us_.add_child(make_link(our_loop_, ours, us_, false), kHonest,
                  [&](const Error&) { honest_is_down_ = true; });
    honest_.set_parent(make_link(honest_loop_, theirs, honest_, true), {});
    watch_raw_ends();

    us_.add_handler(kForAncestors, Access::ancestors(),
                    [](Incoming&) { never("only our parent may, and it is silent"); });
    us_.add_handler(kForHonest, Access::only(kHonest),
                    [](Incoming&) { never("the honest child did not call"); });
    us_.add_handler(kForAnyone, Access::anyone(), [this](Incoming& in) {
      ASSERT(is_hostile(in.header.source) && is_hostile(in.header.authority));
      if (in.header.reply_to != kNoReply && in.header.reply_to != kIsDead) us_.reply(in.header, {});
    });
    us_.on_shutdown = [](Nanos) { never("a child may not end its parent"); };
    honest_.add_handler(kForAnyone, Access::anyone(), [this](Incoming& in) {
      ASSERT(in.header.source == kUs && in.header.authority == kUs);
      const Header to = in.header;
      honest_loop_.after(50 * kMillisecond, [this, to] {
        const Bytes reply = as_bytes(kHonestReply);
        honest_.reply(to, Buffer(reply.begin(), reply.end()));
      });
    });
    honest_.on_shutdown = [](Nanos) { never("nobody ended the tree"); };

    honest_call_ = us_.call(kHonest, kForAnyone, {}, [this](const Reply& reply) {
      ASSERT(reply.dead == nullptr && as_text(reply.payload) == kHonestReply);
      ++honest_answers_;
    });
    hostile_call_ = us_.call(kHostile, 3'000, {}, [this](const Reply& reply) {
      ASSERT(reply.dead != nullptr || reply.payload.empty() || reply.payload[0] == kHostile);
      ++hostile_answers_;
    });
  }

  ~Scene() {
    for (const auto& [fd, watch] :
         {std::pair(parent_fd_, parent_watch_), std::pair(hostile_fd_, hostile_watch_)}) {
      raw_loop_.unwatch(watch);
      raw_loop_.close(fd);
    }
  }

  void play(Script script) {
    world_.run_for(5 * kMillisecond);
    while (!script.empty()) send_frame(script);
    world_.run_for(200 * kMillisecond);
    raw_loop_.unwatch(std::exchange(hostile_watch_, 0));
    world_.cut(raw_loop_, hostile_fd_);
    ASSERT(world_.run_until_idle());
    ASSERT(!honest_is_down_);
    ASSERT(honest_answers_ == 1);
    ASSERT(hostile_answers_ == 1);
  }

 private:
  // What comes up to the parent is checked; what comes down to the hostile child is thrown away.
  void watch_raw_ends() {
    parent_watch_ = raw_loop_.watch(parent_fd_, {true, false}, [this](Ready) {
      std::uint8_t bytes[4096];
      const IoResult result = raw_loop_.read(parent_fd_, bytes, sizeof bytes);
      if (result.status == IoResult::Status::kOk)
        from_us_.insert(from_us_.end(), bytes, bytes + result.bytes);
      while (from_us_.size() >= kHeaderBytes) {
        const Result<Header> header = decode_header(from_us_.data());
        ASSERT(header);
        if (from_us_.size() < header->wire_bytes()) return;
        check_upward(*header);
        from_us_.erase(from_us_.begin(), from_us_.begin() + std::ptrdiff_t(header->wire_bytes()));
      }
    });
    hostile_watch_ = raw_loop_.watch(hostile_fd_, {true, false}, [this](Ready) {
      std::uint8_t bytes[4096];
      const auto status = raw_loop_.read(hostile_fd_, bytes, sizeof bytes).status;
      if (status == IoResult::Status::kEnd || status == IoResult::Status::kError)
        raw_loop_.change(hostile_watch_, {});  // we were thrown out
    });
  }

  static void check_upward(const Header& header) {
    if (header.source == kRoot && header.authority == kRoot) {  // between neighbours: heartbeats, credit
      ASSERT(header.has(kControl));
      return;
    }
    ASSERT(header.source == kUs || is_hostile(header.source));
    ASSERT(is_hostile(header.authority) == is_hostile(header.source));
  }

  void send_frame(Script& script) {
    static constexpr std::uint8_t kFlags[] = {kFirst | kLast,
                                              kFirst | kLast,
                                              kFirst,
                                              0,
                                              kLast,
                                              kAborted | kLast,
                                              kControl | kFirst | kLast,
                                              kControl | kFirst | kLast};
    static constexpr ContextId kIds[] = {kRoot,   kUs,      kHostile,   kBeneathHostile,
                                         kHonest, kUnknown, UINT32_MAX, kHostile};
    const Handle handles[] = {
        kForAncestors, kForAnyone,    kForHonest,     3'000,          honest_call_, hostile_call_,
        kHello,        kIdentity,     kHeartbeat,     kHeartbeatEcho, kLinkCredit,  kLinkBlocked,
        kHold,         kStreamCredit, kStreamBlocked, kCancel,        kShutdown,    kAddRoute,
        kDelRoute,     kAllocateId,   kLog,           kExec,          kInfo,        0};
    static constexpr Handle kReplies[] = {kNoReply, kIsDead, 5'000, kFirstDynamicHandle, 7};
    Header header;
    header.flags = script.pick(kFlags);
    header.source = script.pick(kIds);
    header.destination = script.pick(kIds);
    header.authority = script.pick(kIds);
    header.handle = script.pick(handles);
    header.reply_to = script.pick(kReplies);
    header.stream = script.next() % 8;

    Packer packer;
    switch (script.next() % 5) {
      case 0:
        break;
      case 1:
        packer.array(1).number(script.next());
        break;
      case 2:
        packer.array(2).number(script.pick(handles)).number(std::uint64_t(script.next()) << 20);
        break;
      case 3:  // a dead message, well said
        packer.array(2).number(script.next() % kDeadReasonCount).text("so they say");
        break;
      default:  // news of a route
        packer.array(3).number(script.pick(kIds)).number(script.pick(kIds)).text("name");
    }
    Buffer payload = packer.take();
    if (!header.has(kControl))
      payload.insert(payload.begin(), std::uint8_t(header.source));  // tells who it was
    if (header.flags == kFirst) {                                    // announces its length
      std::uint8_t prefix[kLengthPrefixBytes];
      store_le(prefix, std::uint64_t(script.next()) << script.next() % 56);
      payload.insert(payload.begin(), prefix, prefix + sizeof prefix);
    }
    const std::size_t extra = script.next() * 16u;
    if (!header.has(kControl)) payload.resize(payload.size() + extra, 'x');
    if (header.has(kAborted)) payload.clear();
    header.length = std::uint32_t(payload.size());

    std::uint8_t encoded[kHeaderBytes];
    encode_header(header, encoded);
    Buffer frame(encoded, encoded + kHeaderBytes);
    frame.insert(frame.end(), payload.begin(), payload.end());
    for (std::size_t at = 0; at < frame.size();) {
      const iovec part = {frame.data() + at, frame.size() - at};
      const IoResult result = raw_loop_.write(hostile_fd_, &part, 1);
      if (result.status == IoResult::Status::kError) return;
      at += result.bytes;
      if (result.status == IoResult::Status::kWouldBlock && !world_.step(world_.now() + kSecond)) return;
    }
    if (script.next() % 4 == 0) world_.run_for(3 * kMillisecond);
  }

  SimWorld world_;
  SimLoop& our_loop_;
  SimLoop& raw_loop_;
  SimLoop& honest_loop_;
  Router us_;
  Router honest_;
  int parent_fd_ = -1, hostile_fd_ = -1;
  Loop::WatchId parent_watch_ = 0, hostile_watch_ = 0;
  Buffer from_us_;
  Router::CallId honest_call_ = 0, hostile_call_ = 0;
  int honest_answers_ = 0, hostile_answers_ = 0;
  bool honest_is_down_ = false;
};

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Scene scene;
  scene.play(Script({data, size}));
  return 0;
}
