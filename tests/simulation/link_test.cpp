// Goal: a link hands over what is right, closes on what is not, and costs no more than its limits, whatever
// the other end does or fails to do. Method: a Link at one end of a simulated wire, at the other a peer that
// writes frames, or anything else, by hand.

#include "core/link.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "tests/simulation/raw_peer.h"

namespace banyan {
namespace {

using namespace simulation;

struct Owner final : Link::Owner {
  std::vector<Header> frames;
  std::vector<Handle> sent;
  std::size_t held = 0;
  bool releases = true;
  int downs = 0;
  Error error;
  std::size_t unsent = 0;

  void on_frame(Link& link, const Header& header, Bytes) override {
    CHECK(downs == 0);
    frames.push_back(header);
    if (header.has(kControl)) return;
    if (releases)
      link.release(header.wire_bytes());
    else
      held += header.wire_bytes();
  }
  void on_sent(Link&, std::uint32_t, const Header& header) override { sent.push_back(header.handle); }
  void on_down(Link& link, const Error& why, FrameQueue rest) override {
    CHECK_FALSE(link.is_open());
    ++downs;
    error = why;
    unsent = rest.size();
  }
};

struct Scene {
  SimWorld world;
  SimLoop& ours;
  SimLoop& theirs;
  std::pair<int, int> fds;
  Owner owner;
  WindowBudget budget;
  Link link;
  RawPeer peer;

  explicit Scene(const LinkLimits& limits = {}, bool to_parent = false, std::uint64_t seed = 1,
                 const SimWire& wire = {})
      : world(seed),
        ours(world.add_loop()),
        theirs(world.add_loop()),
        fds(world.make_pair(ours, theirs, wire)),
        link(ours, {fds.first, fds.first}, owner, limits, budget, to_parent),
        peer(theirs, fds.second) {}

  void settle() { CHECK(world.run_until_idle()); }
};

TEST_CASE("frames before a bad one are handed over, and the bad one closes the link as the peer's fault") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    Scene scene({}, false, seed);
    scene.peer.send(encode(data_header(5, 1), Buffer(10)));
    scene.peer.send(encode(data_header(6, 2), Buffer(70)));
    scene.peer.send(Buffer(kHeaderBytes, 'x'));
    scene.peer.send(encode(data_header(5, 3), Buffer(10)));
    scene.settle();
    REQUIRE(scene.owner.frames.size() == 2);
    CHECK(scene.owner.frames[0].handle == 1);
    CHECK(scene.owner.frames[1].length == 70);
    CHECK(scene.owner.downs == 1);
    CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
    CHECK(scene.peer.was_thrown_out);
  }
}

TEST_CASE("a link that ends inside a frame says so, whichever byte was the last") {
  const Buffer frame = encode(data_header(), Buffer(3, 'x'));
  for (std::size_t size = 0; size <= frame.size(); ++size) {
    CAPTURE(size);
    Scene scene;
    scene.peer.send(Buffer(frame.begin(), frame.begin() + std::ptrdiff_t(size)));
    scene.settle();
    scene.peer.close();
    scene.settle();
    CHECK(scene.owner.downs == 1);
    CHECK(scene.owner.error.error_class == ErrorClass::kLost);
    CHECK(scene.owner.frames.size() == (size == frame.size() ? 1 : 0));
    const bool inside = size > 0 && size < frame.size();
    CHECK((scene.owner.error.text.find("inside a frame") != std::string::npos) == inside);
  }
}

TEST_CASE(
    "a frame that comes a byte a second is cut off at its deadline, and its bytes are no sign of life") {
  LinkLimits limits;
  limits.lost_after = 3600 * kSecond;  // the frame's own deadline is meant
  Scene scene(limits);
  const Buffer frame = encode(data_header(), Buffer(1000, 'x'));
  for (std::size_t i = 0; i < 60 && scene.owner.downs == 0; ++i) {
    scene.peer.send({frame[i]});
    scene.world.run_for(kSecond);
  }
  CHECK(scene.owner.downs == 1);
  CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
  CHECK(scene.world.now() >= 30 * kSecond);
  CHECK(scene.world.now() <= 34 * kSecond);

  Scene silent;
  for (std::size_t i = 0; i < 60 && silent.owner.downs == 0; ++i) {
    silent.peer.send({frame[i]});
    silent.world.run_for(kSecond);
  }
  CHECK(silent.owner.error.error_class == ErrorClass::kLost);
  CHECK(silent.world.now() <= 19 * kSecond);
}

TEST_CASE("a peer may fill its window to the last byte and no further") {
  LinkLimits limits;
  limits.window = 10 * (kHeaderBytes + 1000);
  Scene scene(limits);
  scene.owner.releases = false;
  for (int i = 0; i < 10; ++i) scene.peer.send(encode(data_header(), Buffer(1000)));
  scene.settle();
  CHECK(scene.owner.downs == 0);
  CHECK(scene.owner.held == limits.window);
  CHECK(scene.link.held() == limits.window);
  scene.peer.send(encode(data_header(), {}));  // empty frames are not free
  scene.settle();
  CHECK(scene.owner.downs == 1);
  CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
}

TEST_CASE("what was released is given back as credit, a quarter of the window late at most") {
  LinkLimits limits;
  limits.window = 64 << 10;
  Scene scene(limits);
  std::uint64_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    const Buffer frame = encode(data_header(), Buffer(1000));
    REQUIRE(sent + frame.size() <= limits.window + scene.peer.credit);
    scene.peer.send(frame);
    sent += frame.size();
    scene.settle();
  }
  CHECK(scene.owner.downs == 0);
  CHECK(scene.peer.credit <= sent);
  CHECK(scene.peer.credit + limits.window / 4 >= sent);
}

TEST_CASE(
    "a window widens for a blocked peer that was drained, up to its limit and the budget, and not for "
    "others") {
  LinkLimits limits;
  limits.window = 64 << 10;
  limits.window_max = 256 << 10;
  Scene scene(limits);
  scene.budget.left = 1 << 20;
  std::uint64_t sent = 0;
  auto fill = [&] {
    const std::size_t bytes = kHeaderBytes + 1000;
    while (sent + bytes <= limits.window + scene.peer.credit) {
      scene.peer.send(encode(data_header(), Buffer(1000)));
      sent += bytes;
    }
    scene.peer.send(encode(control_header(kLinkBlocked), {}));
    scene.settle();
  };
  for (int i = 0; i < 10; ++i) fill();
  const std::uint64_t widened = limits.window + scene.peer.credit - sent;
  CHECK(scene.owner.downs == 0);
  CHECK(widened == limits.window_max);
  CHECK(scene.budget.left == (1 << 20) - (limits.window_max - limits.window));
  scene.link.close();
  CHECK(scene.budget.left == 1 << 20);  // given back

  Scene stuck(limits);
  stuck.owner.releases = false;
  for (int i = 0; i < 50; ++i) stuck.peer.send(encode(data_header(), Buffer(1000)));
  stuck.peer.send(encode(control_header(kLinkBlocked), {}));
  stuck.settle();
  CHECK(stuck.peer.credit == 0);

  Scene poor(limits);
  poor.budget.left = 1000;
  for (int i = 0; i < 60; ++i) poor.peer.send(encode(data_header(), Buffer(1000)));
  poor.peer.send(encode(control_header(kLinkBlocked), {}));
  poor.settle();
  CHECK(poor.peer.credit <= 60 * (kHeaderBytes + 1000));
  CHECK(poor.budget.left == 1000);
}

TEST_CASE("a window widens for a blocked peer that is drained a moment later, unless more came before") {
  LinkLimits limits;
  limits.window = 10 * (kHeaderBytes + 1000);
  for (const bool more_comes : {false, true}) {
    CAPTURE(more_comes);
    Scene scene(limits);
    scene.owner.releases = false;
    auto fill = [&](int frames) {
      for (int i = 0; i < frames; ++i) scene.peer.send(encode(data_header(), Buffer(1000)));
      scene.settle();
    };
    fill(10);
    scene.peer.send(encode(control_header(kLinkBlocked), {}));
    scene.settle();
    CHECK(scene.peer.credit == 0);
    scene.link.release(limits.window / 2);
    scene.settle();
    CHECK(scene.peer.credit == limits.window / 2);

    if (more_comes) fill(5);
    scene.link.release(scene.link.held());
    scene.settle();

    CHECK(scene.owner.downs == 0);
    CHECK(scene.peer.credit == (more_comes ? limits.window * 3 / 2 : 2 * limits.window));
  }
}

TEST_CASE("asking for wider windows over and over, without sending anything, brings none") {
  Scene scene;
  for (int i = 0; i < 1000; ++i) scene.peer.send(encode(control_header(kLinkBlocked), {}));
  scene.settle();
  CHECK(scene.peer.credit == 0);
  CHECK(scene.owner.downs == 0);
}

TEST_CASE("data waits for credit and control does not") {
  LinkLimits limits;
  limits.window = 64 << 10;
  Scene scene(limits);
  for (Handle i = 0; i < 100; ++i) {
    const Buffer payload(1000);
    Header header = data_header(5, i);
    header.length = 1000;
    scene.link.send(0, header, payload);
  }
  scene.settle();
  const std::size_t first = scene.peer.frames.size() - scene.peer.count(kLinkBlocked);
  CHECK(first == limits.window / (kHeaderBytes + 1000));
  CHECK(scene.owner.sent.size() == first);
  CHECK(scene.peer.count(kLinkBlocked) == 1);
  CHECK(scene.link.queued_bytes() == (100 - first) * (kHeaderBytes + 1000));
  scene.link.send_control(control_header(kLog), Buffer(5));
  scene.settle();
  CHECK(scene.peer.frames.back().handle == kLog);

  scene.peer.send(encode(control_header(kLinkCredit), pack(1 << 20)));
  scene.settle();
  CHECK(scene.owner.sent.size() == 100);
  CHECK(scene.link.queued_bytes() == 0);
  bool in_order = true;
  for (std::size_t i = 0; i < scene.owner.sent.size(); ++i) in_order = in_order && scene.owner.sent[i] == i;
  CHECK(in_order);
}

void send_frames(Scene& scene, StreamId stream, int count) {
  Header header = data_header(5, stream);
  header.stream = stream;
  header.length = 30'000;
  for (int i = 0; i < count; ++i) scene.link.send(0, header, Buffer(header.length));
}

TEST_CASE("a quarter of the window is for calls and replies alone") {
  Scene scene;
  send_frames(scene, kFirstFreeStream, 100);
  scene.settle();
  const std::size_t streams = scene.owner.sent.size();
  CHECK(streams == (LinkLimits().window / 4 * 3) / (kHeaderBytes + 30'000));
  CHECK(scene.peer.count(kLinkBlocked) == 1);

  send_frames(scene, kCallStream, 5);
  send_frames(scene, kReplyStream, 5);
  scene.settle();
  CHECK(scene.owner.sent.size() == streams + 10);

  send_frames(scene, kReplyStream, 100);
  scene.settle();
  CHECK(scene.owner.sent.size() == LinkLimits().window / (kHeaderBytes + 30'000));
}

TEST_CASE("calls and streams that wait for the same link take turns") {
  Scene scene;
  send_frames(scene, kFirstFreeStream, 100);
  send_frames(scene, kCallStream, 100);
  scene.settle();
  scene.owner.sent.clear();

  for (const Handle number : {1, 2}) {
    CAPTURE(number);
    scene.peer.send(encode(control_header(kLinkCredit), pack(100 * (kHeaderBytes + 30'000))));
    scene.settle();
    const auto calls = std::count(scene.owner.sent.begin(), scene.owner.sent.end(), kCallStream);
    const auto all = std::ptrdiff_t(scene.owner.sent.size());
    CHECK(calls >= std::ptrdiff_t(all * 2 / 5));
    CHECK(calls <= std::ptrdiff_t(all * 3 / 5));
  }
}

TEST_CASE("credit that makes no sense closes the link") {
  for (std::uint64_t number : {std::uint64_t(0), UINT64_MAX, std::uint64_t(1) << 41}) {
    CAPTURE(number);
    Scene scene;
    scene.peer.send(encode(control_header(kLinkCredit), pack(number)));
    scene.settle();
    CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
  }
  Scene scene;
  scene.peer.send(encode(control_header(kLinkCredit), Buffer(3, 0xc1)));
  scene.settle();
  CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
}

TEST_CASE("a flood of heartbeats is answered with a few echoes, not with a queue of them") {
  Scene scene;
  scene.peer.set_reading(false);
  for (int i = 0; i < 20'000; ++i) scene.peer.send(encode(control_header(kHeartbeat), pack(7)));
  scene.world.run_for(kSecond);
  CHECK(scene.owner.downs == 0);
  scene.peer.set_reading(true);
  scene.settle();
  CHECK(scene.peer.count(kHeartbeatEcho) >= 1);
  CHECK(scene.peer.count(kHeartbeatEcho) <= 20'000 / 4);  // one a read at most, and reads take many
}

TEST_CASE("control frames beyond any honest rate close the link") {
  Scene scene;
  const Buffer frame = encode(control_header(kAddRoute), {});
  Buffer flood;
  for (int i = 0; i < 1'000; ++i) flood.insert(flood.end(), frame.begin(), frame.end());
  for (int i = 0; i < 200 && scene.owner.downs == 0; ++i) {
    scene.peer.send(flood);
    scene.world.run_for(kMillisecond);
  }
  scene.settle();
  CHECK(scene.owner.downs == 1);
  CHECK(scene.owner.error.error_class == ErrorClass::kProtocol);
  CHECK(scene.owner.frames.size() >= 50'000);

  Scene steady;  // the same number, over twice the time that earns it
  for (int i = 0; i < 100; ++i) {
    steady.peer.send(flood);
    steady.world.run_for(40 * kMillisecond);
  }
  CHECK(steady.owner.downs == 0);
  CHECK(steady.owner.frames.size() == 100'000);
}

TEST_CASE("a peer that does not read what it asked for is closed as stalled, within bounds") {
  LinkLimits limits;
  limits.control_queue_max = 10'000;
  Scene scene(limits);
  scene.peer.set_reading(false);
  std::size_t queued = 0;
  while (scene.owner.downs == 0 && queued < 10 << 20) {
    scene.link.send_control(control_header(kLog), Buffer(1000));
    queued += 1000;
    scene.world.run_for(100 * kMicrosecond);
  }
  CHECK(scene.owner.downs == 1);
  CHECK(scene.owner.error.error_class == ErrorClass::kStalled);
  CHECK(queued < 64 * 1024 + 2 * 256 * 1024 + 10'000 + 2'000);  // the wire, what is staged, the queue
}

TEST_CASE("failing a link tells its owner once, from the loop, with what was not sent") {
  LinkLimits limits;
  limits.window = 1'000;
  Scene scene(limits);
  Header header = data_header();
  header.length = 900;
  for (int i = 0; i < 3; ++i) scene.link.send(0, header, Buffer(900));
  const Error why{ErrorClass::kRefused, Phase::kLink, "enough", {}};
  scene.link.fail(why);
  scene.link.fail(why);
  CHECK(scene.owner.downs == 0);
  CHECK_FALSE(scene.link.is_open());
  scene.link.send_control(control_header(kLog), {});
  scene.settle();
  CHECK(scene.owner.downs == 1);
  CHECK(scene.owner.error.text == "enough");
  CHECK(scene.owner.unsent == 2);
  CHECK(scene.ours.open_descriptors() == 0);
}

TEST_CASE("closing a link says nothing to its owner, and may be done twice") {
  Scene scene;
  scene.link.close();
  scene.link.close();
  scene.settle();
  CHECK(scene.owner.downs == 0);
  CHECK(scene.peer.was_thrown_out);
}

TEST_CASE("a link may be destroyed between failing and telling") {
  SimWorld world(1);
  SimLoop& ours = world.add_loop();
  SimLoop& theirs = world.add_loop();
  const auto fds = world.make_pair(ours, theirs);
  Owner owner;
  WindowBudget budget;
  auto link = std::make_unique<Link>(ours, LinkFds{fds.first, fds.first}, owner, LinkLimits{}, budget, false);
  link->fail(Error{});
  link.reset();
  CHECK(world.run_until_idle());
  CHECK(owner.downs == 0);
  theirs.close(fds.second);
}

TEST_CASE("bytes that were read beside the handshake are the first of the link") {
  Scene scene;
  const Buffer frame = encode(data_header(5, 77), Buffer(100));
  scene.link.take_early_bytes(Bytes(frame).first(50));
  scene.peer.send(Buffer(frame.begin() + 50, frame.end()));
  scene.settle();
  REQUIRE(scene.owner.frames.size() == 1);
  CHECK(scene.owner.frames[0].handle == 77);
}

TEST_CASE("a link of two descriptors reads from one, writes to the other, and ends with either") {
  for (int broken = 0; broken < 2; ++broken) {
    CAPTURE(broken);
    SimWorld world(3);
    SimLoop& ours = world.add_loop();
    SimLoop& theirs = world.add_loop();
    const auto in = world.make_pair(ours, theirs), out = world.make_pair(ours, theirs);
    Owner owner;
    WindowBudget budget;
    Link link(ours, {in.first, out.first}, owner, {}, budget, false);
    RawPeer writer(theirs, in.second), reader(theirs, out.second);
    writer.send(encode(data_header(), Buffer(100)));
    Header header = data_header();
    header.length = 300'000 / 5;
    for (int i = 0; i < 5; ++i) link.send(0, header, Buffer(header.length));
    CHECK(world.run_until_idle());
    CHECK(owner.frames.size() == 1);
    CHECK(reader.frames.size() == 5);
    (broken == 0 ? writer : reader).close();
    CHECK(world.run_until_idle());
    if (broken == 1) link.send(0, header, Buffer(header.length));  // finds out when it has something to say
    CHECK(world.run_until_idle());
    CHECK(owner.downs == 1);
    CHECK(ours.open_descriptors() == 0);
  }
}

TEST_CASE("what the peer said before it went is heard, though our own writing fails first") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    CAPTURE(seed);
    SimWire wire;
    wire.is_rough = false;  // one that says "would block" in vain would make us give up too soon
    Scene scene({}, false, seed, wire);
    scene.world.stop(scene.ours);
    scene.peer.send(encode(data_header(5, 1), Buffer(30'000)));
    CHECK(scene.world.run_until_idle());
    scene.peer.close();
    CHECK(scene.world.run_until_idle());
    Header header = data_header();
    header.length = 1'000;
    scene.link.send(0, header, Buffer(header.length));
    scene.world.resume(scene.ours);
    scene.settle();
    CHECK(scene.owner.frames.size() == 1);
    CHECK(scene.owner.downs == 1);
    CHECK(scene.owner.error.error_class == ErrorClass::kLost);
  }
}

TEST_CASE("a link that slept longer than silence may last hears its peer before it judges") {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    CAPTURE(seed);
    Scene scene({}, false, seed);
    for (int i = 0; i < 12; ++i) {
      if (i == 3) scene.world.stop(scene.ours);
      if (i == 9) scene.world.resume(scene.ours);
      scene.peer.send(encode(control_header(kHeartbeat), pack(1)));
      scene.world.run_for(3 * kSecond);
    }
    CHECK(scene.owner.downs == 0);
    scene.world.run_for(30 * kSecond);  // and then it is silent indeed
    CHECK(scene.owner.downs == 1);
  }
}

TEST_CASE("thousands of frames under every seed arrive complete and in order, both ways at once") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CAPTURE(seed);
    Scene scene({}, false, seed);
    for (Handle i = 0; i < 500; ++i) {
      const std::size_t bytes = std::size_t(i * 37 % 3000);
      scene.peer.send(encode(data_header(5, i), Buffer(bytes)));
      Header header = data_header(6, i);
      header.length = std::uint32_t(bytes);
      scene.link.send(0, header, Buffer(bytes));
    }
    scene.settle();
    REQUIRE(scene.owner.frames.size() == 500);
    std::size_t next = 0;
    for (const Header& header : scene.peer.frames) next += !header.has(kControl) && header.handle == next;
    CHECK(next == 500);
    bool in_order = true;
    for (std::size_t i = 0; i < 500; ++i) in_order = in_order && scene.owner.frames[i].handle == i;
    CHECK(in_order);
  }
}

// A hop announced a context and passed its first message on in the same round of the loop; the small message
// left first, and the parent dropped what came from nobody it knew.
TEST_CASE("no message overtakes the control that was sent before it, however small it is") {
  for (const std::size_t bytes : {std::size_t(0), std::size_t(10), std::size_t(60'000)}) {
    CAPTURE(bytes);
    Scene scene;
    Header header = data_header(5, 77);
    header.length = std::uint32_t(bytes);

    scene.link.send_control(control_header(kAddRoute), {});
    scene.link.send(0, header, Buffer(bytes));

    scene.settle();
    REQUIRE(scene.peer.frames.size() == 2);
    CHECK(scene.peer.frames[0].handle == kAddRoute);
    CHECK(scene.peer.frames[1].handle == 77);
  }
}

}  // namespace
}  // namespace banyan
