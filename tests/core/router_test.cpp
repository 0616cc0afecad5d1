// Goal: a message finds its way or is answered dead; nobody waits for ever; nobody speaks for another.
// Method: two or three routers in one process, joined by real socketpairs; hostile frames are written by hand
// into one end of a link.

#include "core/router.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>

#include "core/msgpack.h"
#include "core/stream.h"
#include "core/text.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr Handle kEcho = 500;

Buffer buffer_of(std::string_view text) {
  return Buffer(text.begin(), text.end());
}

void add_echo(Router& router) {
  router.add_handler(kEcho, Access::anyone(), [&router](Incoming& message) {
    router.reply(message.header, Buffer(message.payload.begin(), message.payload.end()));
  });
}

// What became of one call.
struct Outcome {
  int answers = 0;
  bool dead = false;
  DeadReason reason{};
  ContextId from = 0;
  std::string text;

  OnReply listener() {
    return [this](const Reply& reply) {
      ++answers;
      dead = reply.dead != nullptr;
      if (dead) {
        reason = reply.dead->reason;
        from = reply.dead->from;
        text = reply.dead->text;
      } else {
        text = std::string(as_text(reply.payload));
      }
    };
  }
};

// Root 0, its child 1.
struct Pair {
  EpollLoop loop;
  Router root{loop, config_of(0)};
  Router child{loop, config_of(1, {0})};
  int root_heard = 0, child_heard = 0;

  explicit Pair(const LinkLimits& limits = {}) {
    join(
        loop, root, child, [this](const Error&) { ++root_heard; }, [this](const Error&) { ++child_heard; },
        limits);
  }
};

// Root 0, its child 1, whose child is 2. The root knows its way to 2 through 1, as route news will tell it.
struct Chain : Pair {
  Router grandchild{loop, config_of(2, {1, 0})};
  int child_heard_below = 0;

  Chain() {
    join(loop, child, grandchild, [this](const Error&) { ++child_heard_below; });
    root.grant(1, {2, 1});
    root.add_route(2, 1, 1);
  }
};

// Root 0 and, as its child 1, a socket on which the test writes what it likes.
struct Hostile {
  EpollLoop loop;
  Router root{loop, config_of(0)};
  Fd wire;
  std::string down;
  Buffer heard;

  Hostile() {
    auto ends = make_socketpair();
    wire = std::move(ends->second);
    root.add_child(make_link(loop, ends->first.release(), root, false), 1,
                   [this](const Error& error) { down = error.text; });
  }
  void write(Header header, Bytes payload) {
    header.length = std::uint32_t(payload.size());
    std::uint8_t encoded[kHeaderBytes];
    encode_header(header, encoded);
    REQUIRE(write_all(wire.get(), encoded, sizeof encoded));
    REQUIRE(write_all(wire.get(), payload.data(), payload.size()));
  }
  // The next frame the root sent, its payload in `heard`.
  Header read() {
    heard.resize(kHeaderBytes);
    fill(heard.data(), kHeaderBytes);
    const auto header = decode_header(heard.data());
    REQUIRE(bool(header));
    heard.resize(header->length);
    fill(heard.data(), heard.size());
    return *header;
  }
  void fill(std::uint8_t* to, std::size_t bytes) {
    while (bytes > 0) {
      loop.run_once(0);
      const IoResult result = loop.read(wire.get(), to, bytes);
      if (result.status == IoResult::Status::kWouldBlock) continue;
      REQUIRE(result.status == IoResult::Status::kOk);
      to += result.bytes;
      bytes -= result.bytes;
    }
  }
};

Header message_from(ContextId source, Handle handle, Handle reply_to = kNoReply) {
  Header header;
  header.flags = kFirst | kLast;
  header.source = header.authority = source;
  header.destination = 0;
  header.handle = handle;
  header.reply_to = reply_to;
  return header;
}

}  // namespace

TEST_CASE("a call is answered by the child's handler") {
  Pair tree;
  add_echo(tree.child);
  Outcome outcome;

  tree.root.call(1, kEcho, buffer_of("hello"), outcome.listener());

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK_FALSE(outcome.dead);
  CHECK(outcome.text == "hello");
}

TEST_CASE("a call to a handle nobody serves is answered dead by the callee") {
  Pair tree;
  Outcome outcome;

  tree.root.call(1, kEcho, {}, outcome.listener());

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.dead);
  CHECK(outcome.reason == DeadReason::kNoHandle);
  CHECK(outcome.from == 1);
}

TEST_CASE("a call to an id nobody knows is answered dead by whoever knows no way") {
  Pair tree;
  Outcome from_root, from_child;

  tree.root.call(99, kEcho, {}, from_root.listener());
  tree.child.call(99, kEcho, {}, from_child.listener());

  REQUIRE(run_until(tree.loop, [&] { return from_root.answers > 0 && from_child.answers > 0; }));
  CHECK(from_root.reason == DeadReason::kNoRoute);
  CHECK(from_root.from == 0);
  CHECK(from_child.reason == DeadReason::kNoRoute);
  CHECK(from_child.from == 0);  // the child asked upward
}

TEST_CASE("a message from the parent without a route is answered dead, never passed back up") {
  Pair tree;
  tree.root.grant(1, {7, 1});
  tree.root.add_route(7, 1, 1);  // a route the child has lost
  Outcome outcome;

  tree.root.call(7, kEcho, {}, outcome.listener());

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.reason == DeadReason::kGone);
  CHECK(outcome.from == 1);
}

TEST_CASE("a call in flight when its link breaks gets exactly one dead message") {
  Pair tree;
  tree.child.add_handler(kEcho, Access::anyone(), [](Incoming&) {});  // never answers
  Outcome outcome;
  tree.root.call(1, kEcho, {}, outcome.listener());
  tree.loop.run_once(0);

  tree.root.drop_child(1, Error{ErrorClass::kLost, Phase::kLink, "cut by the test", {}});

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0 && tree.child_heard > 0; }));
  tree.loop.run_once(0);
  CHECK(outcome.answers == 1);
  CHECK(outcome.reason == DeadReason::kGone);
  CHECK(tree.root_heard == 1);
}

TEST_CASE("a message of sixteen megabytes arrives whole, through a hop") {
  Chain tree;
  std::size_t received = 0;
  bool same = false;
  Buffer big(kMessageMax);
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = std::uint8_t(i * 7 + i / 4093);
  tree.grandchild.add_handler(kEcho, Access::ancestors(), [&](Incoming& message) {
    received = message.payload.size();
    same = std::memcmp(message.payload.data(), big.data(), big.size()) == 0;
    tree.grandchild.reply(message.header, buffer_of("done"));
  });
  Outcome outcome;

  tree.root.call(2, kEcho, big, outcome.listener());

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(received == big.size());
  CHECK(same);
  CHECK(outcome.text == "done");
}

TEST_CASE("a message beyond the limit is refused with one dead message, and later ones pass") {
  Pair tree;
  add_echo(tree.child);
  Outcome refused, after;

  tree.root.call(1, kEcho, Buffer(kMessageMax + 1), refused.listener());
  tree.root.call(1, kEcho, buffer_of("small"), after.listener());

  REQUIRE(run_until(tree.loop, [&] { return refused.answers > 0 && after.answers > 0; }));
  CHECK(refused.reason == DeadReason::kTooLarge);
  CHECK(after.text == "small");
}

TEST_CASE("a receiver refuses what is beyond its own limit at the first frame") {
  EpollLoop loop;
  Router root(loop, config_of(0));
  RouterConfig small = config_of(1, {0});
  small.inbox.message_max = 100'000;
  Router child(loop, small);
  join(loop, root, child);
  add_echo(child);
  Outcome refused, after;

  root.call(1, kEcho, Buffer(2'000'000), refused.listener());
  root.call(1, kEcho, buffer_of("small"), after.listener());

  REQUIRE(run_until(loop, [&] { return refused.answers > 0 && after.answers > 0; }));
  CHECK(refused.reason == DeadReason::kTooLarge);
  CHECK(refused.from == 1);
  CHECK(after.text == "small");
  CHECK(child.counters().dead_sent == 1);
}

TEST_CASE("a reply that is refused where it arrives ends its call, once, and later ones pass") {
  EpollLoop loop;
  RouterConfig small = config_of(0);
  small.inbox.message_max = 100'000;
  Router root(loop, small);
  Router child(loop, config_of(1, {0}));
  join(loop, root, child);
  child.add_handler(kEcho, Access::anyone(), [&child](Incoming& call) {
    child.reply(call.header, call.payload.empty() ? Buffer(200'000) : buffer_of("small"));
  });
  Outcome refused, after;

  root.call(1, kEcho, {}, refused.listener());
  root.call(1, kEcho, buffer_of("more"), after.listener());

  REQUIRE(run_until(loop, [&] { return refused.answers > 0 && after.answers > 0; }));
  CHECK(refused.answers == 1);
  CHECK(refused.reason == DeadReason::kTooLarge);
  CHECK(refused.from == 0);
  CHECK(after.text == "small");
}

TEST_CASE("a handler for ancestors refuses whoever is not one") {
  Pair tree;
  tree.root.add_handler(kEcho, Access::ancestors(), [](Incoming&) { FAIL("must not run"); });
  Outcome outcome;

  tree.child.call(0, kEcho, {}, outcome.listener());

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.reason == DeadReason::kRefused);
}

TEST_CASE("siblings may not talk to each other when the policy is vertical, and may when it is peers") {
  for (const Sideways sideways : {Sideways::kVertical, Sideways::kPeers}) {
    EpollLoop loop;
    RouterConfig config = config_of(0);
    config.sideways = sideways;
    Router root(loop, config);
    Router one(loop, config_of(1, {0})), two(loop, config_of(2, {0}));
    join(loop, root, one);
    join(loop, root, two);
    add_echo(two);
    Outcome outcome;

    one.call(2, kEcho, buffer_of("hello"), outcome.listener());

    REQUIRE(run_until(loop, [&] { return outcome.answers > 0; }));
    CHECK(outcome.dead == (sideways == Sideways::kVertical));
    if (outcome.dead) {
      CHECK(outcome.reason == DeadReason::kPolicy);
      CHECK(outcome.from == 0);
    }
  }
}

TEST_CASE("a long message half-way through a hop whose lower link breaks is answered dead once") {
  Chain tree;
  tree.grandchild.add_handler(kEcho, Access::anyone(), [](Incoming&) {});
  Outcome outcome;
  tree.root.call(2, kEcho, Buffer(8 << 20), outcome.listener());
  REQUIRE(run_until(tree.loop, [&] { return tree.grandchild.counters().delivered > 2; }));

  tree.child.drop_child(2, Error{ErrorClass::kLost, Phase::kLink, "cut by the test", {}});

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.answers == 1);
  CHECK(outcome.reason == DeadReason::kGone);
  CHECK(outcome.from == 1);
}

TEST_CASE("a stream half-way through a hop whose upper link breaks ends aborted below") {
  Chain tree;
  bool aborted = false;
  std::size_t bytes = 0;
  const Handle sink = tree.grandchild.add_handler(Access::anyone(), [&](Incoming& message) {
    bytes += message.payload.size();
    aborted = message.header.has(kAborted);
  });
  StreamSender sender(tree.root, 2, sink);
  REQUIRE(sender.room() > 0);
  sender.send(Buffer(1'000));
  // A long message on a stream of its own, so that something is half-way when the cut comes.
  Outcome outcome;
  tree.grandchild.add_handler(kEcho, Access::anyone(),
                              [&](Incoming&) { FAIL("half a message must not arrive"); });
  tree.root.call(2, kEcho, Buffer(8 << 20), outcome.listener());
  REQUIRE(run_until(tree.loop, [&] { return tree.grandchild.counters().delivered > 3; }));

  tree.root.drop_child(1, Error{ErrorClass::kLost, Phase::kLink, "cut by the test", {}});

  REQUIRE(run_until(tree.loop, [&] { return tree.child_heard > 0; }));
  for (int i = 0; i < 20; ++i) tree.loop.run_once(kMillisecond);
  CHECK(bytes == 1'000);
  CHECK(outcome.answers == 1);
  CHECK_FALSE(
      aborted);  // between two messages of a stream nothing is half-way: its reader hears of the lost way
  CHECK(tree.grandchild.counters().dropped == 0);
}

TEST_CASE("a stream whose sender dies without finishing ends aborted") {
  Pair tree;
  bool aborted = false, ended = false;
  const Handle sink = tree.child.add_handler(Access::anyone(), [&](Incoming& message) {
    aborted = message.header.has(kAborted);
    ended = ended || message.payload.empty();
  });
  {
    StreamSender sender(tree.root, 1, sink);
    REQUIRE(sender.room() > 0);
    sender.send(Buffer(10));
  }

  REQUIRE(run_until(tree.loop, [&] { return ended; }));
  CHECK(aborted);
}

TEST_CASE("a reader that does not read holds its sender at one window, and gets every byte once it does") {
  Pair tree;
  std::deque<Charge> kept;
  std::size_t received = 0;
  bool keeping = true, ended = false;
  const Handle sink = tree.child.add_handler(Access::anyone(), [&](Incoming& message) {
    received += message.payload.size();
    ended = message.payload.empty();
    if (keeping) kept.push_back(std::move(message.charge));
  });
  StreamSender sender(tree.root, 1, sink);
  std::size_t sent = 0;
  constexpr std::size_t kTotal = 3'000'000;
  auto send_what_may = [&] {
    for (std::size_t room = sender.room(); room > 0 && sent < kTotal; room = sender.room()) {
      const std::size_t bytes = std::min(room, kTotal - sent);
      sender.send(Buffer(bytes));
      sent += bytes;
    }
    if (sent == kTotal) sender.finish();
  };
  sender.on_writable = send_what_may;
  send_what_may();
  for (int i = 0; i < 50; ++i) tree.loop.run_once(0);

  CHECK(sent <= 64 * 1024);
  CHECK(received == sent);
  keeping = false;
  kept.clear();
  REQUIRE(run_until(tree.loop, [&] { return ended; }));
  CHECK(received == kTotal);
}

TEST_CASE("a router ends while messages are half-way and handlers keep unread messages and a stream") {
  EpollLoop loop;
  Router root(loop, config_of(0));
  RouterConfig one_at_a_time = config_of(1, {0});
  one_at_a_time.inbox.assembly_budget = kMessageMax;
  auto child = std::make_unique<Router>(loop, one_at_a_time);
  join(loop, root, *child);
  struct Kept {
    std::deque<Charge> charges;
    std::optional<StreamSender> sender;
  };
  auto kept = std::make_shared<Kept>();
  kept->sender.emplace(*child, 0, kEcho);
  const std::weak_ptr<Kept> left = kept;
  const Handle sink = child->add_handler(
      Access::anyone(), [kept](Incoming& message) { kept->charges.push_back(std::move(message.charge)); });
  kept.reset();
  root.send(1, sink, Buffer(60'000));
  // One has the budget; its own wait, and hold what has come of them.
  for (StreamId stream = kFirstFreeStream; stream < kFirstFreeStream + 3; ++stream)
    (stream == kFirstFreeStream ? root : *child).send(1, sink, Buffer(kMessageMax), stream);
  REQUIRE(run_until(loop, [&] { return child->counters().frames_in > 20; }));
  REQUIRE(left.lock()->charges.size() == 1);

  child.reset();

  CHECK(left.expired());
  for (int i = 0; i < 20; ++i) loop.run_once(0);
}

TEST_CASE("a stream to a handle that is gone tells its sender") {
  Pair tree;
  std::string why;
  StreamSender sender(tree.root, 1, 123'456'789);
  sender.on_dead = [&](const Dead& dead) { why = dead.text; };

  sender.send(Buffer(sender.room()));

  REQUIRE(run_until(tree.loop, [&] { return sender.is_dead(); }));
  CHECK(why == "nothing listens at handle 123456789");
  CHECK(sender.room() == 0);
}

TEST_CASE("a cancelled call ends with its outcome, and only then is the cancel acknowledged") {
  Pair tree;
  std::optional<Header> serving;
  bool is_cancelled = false, is_acknowledged = false;
  tree.child.add_handler(kEcho, Access::anyone(), [&](Incoming& call) {
    serving = call.header;
    tree.child.on_cancel(call.header, [&] { is_cancelled = true; });
  });
  Outcome outcome;
  const Router::CallId call = tree.root.call(1, kEcho, {}, outcome.listener());
  REQUIRE(run_until(tree.loop, [&] { return serving.has_value(); }));

  tree.root.cancel(call, [&](const Reply& reply) {
    CHECK(reply.dead == nullptr);
    CHECK(outcome.answers == 1);
    is_acknowledged = true;
  });

  REQUIRE(run_until(tree.loop, [&] { return is_cancelled; }));
  CHECK(outcome.answers == 0);  // the outcome decides, not the cancel
  tree.child.reply(*serving, Buffer(1));
  REQUIRE(run_until(tree.loop, [&] { return is_acknowledged; }));
  CHECK_FALSE(outcome.dead);
}

TEST_CASE("shutdown from the parent is obeyed, from anybody else it is not") {
  Pair tree;
  Nanos told = 0;
  tree.child.on_shutdown = [&](Nanos remaining) { told = remaining; };
  tree.root.on_shutdown = [&](Nanos) { FAIL("a child must not shut its parent down"); };

  tree.child.send_control(0, kShutdown, Packer().array(1).number(5u).buffer());
  tree.root.shut_down_children(1'500 * kMillisecond);

  REQUIRE(run_until(tree.loop, [&] { return told != 0; }));
  CHECK(told == 1'500 * kMillisecond);
}

TEST_CASE("a child that speaks in the name of a stranger is cut off") {
  for (const ContextId stranger : {ContextId(0), ContextId(2), ContextId(0xffffffff)}) {
    CAPTURE(stranger);
    Hostile tree;
    tree.root.add_handler(kEcho, Access::anyone(), [](Incoming&) { FAIL("must not run"); });

    tree.write(message_from(stranger, kEcho), {});

    REQUIRE(run_until(tree.loop, [&] { return !tree.down.empty(); }));
    CHECK(tree.down == "a child speaks in the name of a stranger");
  }
}

TEST_CASE("the first hop writes the authority, whatever the child claims") {
  Hostile tree;
  ContextId authority = 99;
  tree.root.add_handler(kEcho, Access::anyone(),
                        [&](Incoming& message) { authority = message.header.authority; });
  Header header = message_from(1, kEcho);
  header.authority = 0;

  tree.write(header, {});

  REQUIRE(run_until(tree.loop, [&] { return authority != 99; }));
  CHECK(authority == 1);
}

TEST_CASE("a reply or a death notice for a call that awaits another context is ignored") {
  Hostile tree;
  Router honest(tree.loop, config_of(2, {0}));
  join(tree.loop, tree.root, honest);
  std::vector<Header> asked;
  honest.add_handler(kEcho, Access::anyone(), [&](Incoming& message) { asked.push_back(message.header); });
  Outcome outcome;
  const Router::CallId call = tree.root.call(2, kEcho, {}, outcome.listener());
  REQUIRE(run_until(tree.loop, [&] { return !asked.empty(); }));

  tree.write(message_from(1, call), as_bytes("forged"));
  Header dead = message_from(1, call, kIsDead);
  dead.flags |= kControl;
  tree.write(dead, Packer().array(2).number(6u).text("forged").buffer());
  REQUIRE(run_until(tree.loop, [&] { return tree.root.counters().refused == 2; }));
  CHECK(outcome.answers == 0);
  honest.reply(asked[0], buffer_of("true"));

  REQUIRE(run_until(tree.loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.text == "true");
}

TEST_CASE("a dead message is never answered, and a message that wants no answer gets none") {
  Hostile tree;
  Header dead = message_from(1, 4'711, kIsDead);
  dead.flags |= kControl;
  tree.write(dead, Packer().array(2).number(0u).text("x").buffer());
  tree.write(message_from(1, 4'711, kNoReply), {});
  tree.write(message_from(1, 4'711, 77), {});

  const Header answer = tree.read();

  CHECK(answer.is_dead());
  CHECK(answer.handle == 77);
  CHECK(tree.root.counters().dead_sent == 1);
}

TEST_CASE("a child that overruns its stream window is cut off") {
  Hostile tree;
  std::deque<Charge> kept;
  tree.root.add_handler(kEcho, Access::anyone(), [&](Incoming& message) {
    if (!message.header.has(kAborted)) kept.push_back(std::move(message.charge));
  });
  Header header = message_from(1, kEcho);
  header.stream = 9;
  const Buffer payload(30'000);

  for (int i = 0; i < 3; ++i) tree.write(header, payload);

  REQUIRE(run_until(tree.loop, [&] { return !tree.down.empty(); }));
  CHECK(tree.down == "a stream window was overrun");
  CHECK(kept.size() == 2);
}

TEST_CASE("a flood of messages to nowhere costs the flooder its window and us nothing") {
  Hostile tree;
  const Header header = message_from(1, 4'711);
  for (int i = 0; i < 500; ++i) {
    tree.write(header, {});
    tree.loop.run_once(0);
  }

  REQUIRE(run_until(tree.loop, [&] { return tree.root.counters().frames_in == 500; }));
  CHECK(tree.down.empty());
  CHECK(tree.root.counters().dead_sent == 0);
  CHECK(tree.root.link_to(1)->held() == 0);
}

TEST_CASE("a call to oneself goes through the loop like any other") {
  EpollLoop loop;
  Router root(loop, config_of(0));
  add_echo(root);
  Outcome outcome;

  root.call(0, kEcho, buffer_of("me"), outcome.listener());

  CHECK(outcome.answers == 0);
  REQUIRE(run_until(loop, [&] { return outcome.answers > 0; }));
  CHECK(outcome.text == "me");
}
