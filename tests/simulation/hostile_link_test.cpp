// Goal: one hostile peer costs bounded memory and loses its own link, and nothing else.
// Method: a production link on a simulated wire whose other end the test writes by hand; time is simulated,
// so a slow attack takes no time.

#include <catch2/catch.hpp>

#include "core/link.h"
#include "core/msgpack.h"
#include "tests/simulation/sim_loop.h"
#include "tests/support/seed.h"

using namespace banyan;

namespace {

struct Attack final : private Link::Owner {
  SimWorld world;
  SimLoop& honest;
  SimLoop& hostile;
  WindowBudget budget;
  int wire;
  std::unique_ptr<Link> link;
  std::string down;
  ErrorClass down_class{};
  std::size_t frames = 0;
  bool keeps = false;    // what comes in is never released
  bool answers = false;  // each data frame by one of control

  explicit Attack(std::uint64_t seed, const SimWire& properties = {.is_rough = false},
                  const LinkLimits& limits = {}, bool to_parent = false)
      : world(seed), honest(world.add_loop()), hostile(world.add_loop()) {
    const auto ends = world.make_pair(honest, hostile, properties);
    wire = ends.second;
    link = std::make_unique<Link>(honest, LinkFds{ends.first, ends.first}, static_cast<Link::Owner&>(*this),
                                  limits, budget, to_parent);
  }
  bool is_down() const { return !down.empty(); }

  // Writes as much as the wire takes; false when it is closed.
  bool write(Bytes bytes) {
    while (!bytes.empty() && !is_down()) {
      const iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
      const IoResult result = hostile.write(wire, &part, 1);
      if (result.status == IoResult::Status::kOk) {
        bytes = bytes.subspan(result.bytes);
      } else if (result.status != IoResult::Status::kWouldBlock) {
        return false;
      }
      world.run_for(kMillisecond);
    }
    return !is_down();
  }
  // What the honest side has sent, up to a limit.
  std::size_t read(std::size_t max) {
    Buffer bytes(max);
    const IoResult result = hostile.read(wire, bytes.data(), max);
    return result.status == IoResult::Status::kOk ? result.bytes : 0;
  }

  static Header answer() { return Header{.flags = kControl | kFirst | kLast, .handle = kStreamBlocked}; }

 private:
  void on_frame(Link& from, const Header& header, Bytes) override {
    ++frames;
    if (answers && !header.has(kControl)) from.send_control(answer());
    if (!keeps && !header.has(kControl)) from.release(header.wire_bytes());
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error& error, FrameQueue) override {
    down = error.text;
    down_class = error.error_class;
  }
};

Buffer frame(Header header, const Buffer& payload = {}) {
  header.length = std::uint32_t(payload.size());
  Buffer out(kHeaderBytes);
  encode_header(header, out.data());
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

Header control(Handle handle) {
  return Header{.flags = kControl | kFirst | kLast, .handle = handle};
}

}  // namespace

TEST_CASE("a frame sent one byte a second is cut off at the frame deadline, though bytes keep coming") {
  Attack attack(1);
  const Buffer slow = frame({.flags = kFirst | kLast}, Buffer(1'000));
  const Nanos began = attack.world.now();

  for (std::size_t i = 0; i < slow.size() && attack.write(Bytes(slow).subspan(i, 1)); ++i)
    attack.world.run_for(kSecond);

  // Silence is measured in frames, not bytes: it is the first of the two judges.
  CHECK(attack.is_down());
  CHECK(attack.world.now() - began <= 34 * kSecond);
}

TEST_CASE("a frame that trickles while heartbeats are answered is cut off at the frame deadline") {
  LinkLimits patient;
  patient.lost_after = 3'600 * kSecond;
  Attack attack(2, {.is_rough = false}, patient);
  const Buffer slow = frame({.flags = kFirst | kLast}, Buffer(1'000));
  const Nanos began = attack.world.now();

  for (std::size_t i = 0; i < slow.size() && attack.write(Bytes(slow).subspan(i, 1)); ++i)
    attack.world.run_for(kSecond);

  CHECK(attack.down == "a frame was begun and not finished in time");
  CHECK(attack.world.now() - began >= 30 * kSecond);
  CHECK(attack.world.now() - began <= 34 * kSecond);
}

TEST_CASE("a header cut at each byte and then the end is a lost link, and never a frame") {
  const Buffer whole = frame({.flags = kFirst | kLast}, Buffer(10));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    CAPTURE(cut);
    Attack attack(test::seed() + cut);

    attack.write(Bytes(whole).first(cut));
    attack.hostile.close(attack.wire);
    attack.world.run_for(kSecond);

    CHECK(attack.down ==
          (cut == 0 ? "the link was closed by the other side" : "the link ended inside a frame"));
    CHECK(attack.frames == 0);
  }
}

TEST_CASE("questions without end are answered one at a time, and too many end the link") {
  Attack attack(3);
  const Buffer question = frame(control(kHeartbeat), Packer().array(1).number(1u).take());
  Buffer many;
  for (int i = 0; i < 1'000; ++i) many.insert(many.end(), question.begin(), question.end());

  // The answers are never read. A heartbeat flood costs us one queued answer a round, then the rate limit
  // ends it.
  for (int i = 0; i < 200 && attack.write(many); ++i) {
  }

  CHECK(attack.down == "control frames faster than allowed");
  CHECK(attack.down_class == ErrorClass::kProtocol);
}

TEST_CASE("stream credit is free as far as it answers data, and counted beyond") {
  const Buffer credit = frame(control(kStreamCredit), Packer().array(2).number(10u).number(1u).take());
  LinkLimits limits;
  limits.control_per_second = 100;
  for (const bool answers : {true, false}) {
    CAPTURE(answers);
    Attack attack(8, {.latency_max = 20 * kMicrosecond, .is_rough = false}, limits);

    for (int i = 0; i < 2'000 && !attack.is_down(); ++i) {
      if (answers) attack.link->send(0, {.flags = kFirst | kLast}, {});
      attack.write(credit);
      attack.read(1'000);
    }

    CHECK(attack.is_down() != answers);
    CHECK(attack.down == (answers ? "" : "control frames faster than allowed"));
  }
}

TEST_CASE("a peer that makes us answer and does not read is closed at the limit of the queue") {
  LinkLimits limits;
  limits.control_queue_max = 64 * 1024;
  Attack attack(4, {.capacity = 4'096, .is_rough = false}, limits);

  for (int i = 0; i < 10'000 && !attack.is_down(); ++i) {
    attack.link->send_control(Attack::answer(), Packer().array(1).number(2u).buffer());
    if (i % 100 == 0) attack.world.run_for(kMillisecond);
  }
  attack.world.run_for(kMillisecond);

  CHECK(attack.down == "the other side does not read what it asked for");
  CHECK(attack.down_class == ErrorClass::kStalled);
}

TEST_CASE("a peer that reads more slowly than it makes us answer is closed at the limit of the queue, too") {
  LinkLimits limits;
  limits.control_queue_max = 64 * 1024;
  Attack attack(9, {.capacity = 4'096, .is_rough = false}, limits);

  std::size_t said = 0;
  for (; said < 2'000'000 && !attack.is_down(); said += kHeaderBytes) {
    attack.link->send_control(Attack::answer());
    if (said % 4'000 != 0) continue;
    attack.read(1'000);
    attack.world.run_for(kMillisecond);
  }
  attack.world.run_for(kMillisecond);

  CHECK(attack.down == "the other side does not read what it asked for");
  // What waits here and what was given to the kernel's side of it.
  CHECK(said < 600'000);
}

TEST_CASE("a child that does not read what it asked for is not read until it does, and has lost nothing") {
  constexpr std::size_t kFrames = 40'000;
  Attack attack(10, {.is_rough = false});
  attack.answers = true;
  const Buffer one = frame({.flags = kFirst | kLast, .handle = 7});
  Buffer many;
  for (std::size_t i = 0; i < kFrames; ++i) many.insert(many.end(), one.begin(), one.end());
  std::size_t written = 0, read = 0;

  // It writes what the wire takes, and reads nothing until that is nothing any more.
  for (int still = 0; still < 100; ++still) {
    const iovec part{many.data() + written, many.size() - written};
    const IoResult result = written < many.size() ? attack.hostile.write(attack.wire, &part, 1) : IoResult{};
    if (written < many.size() && result.status == IoResult::Status::kOk) {
      written += result.bytes;
      still = 0;
    }
    attack.world.run_for(kMillisecond);
  }
  CHECK(written < many.size());
  CHECK_FALSE(attack.is_down());
  for (int still = 0; still < 100; ++still) {
    const iovec part{many.data() + written, many.size() - written};
    const IoResult result = written < many.size() ? attack.hostile.write(attack.wire, &part, 1) : IoResult{};
    if (written < many.size() && result.status == IoResult::Status::kOk) written += result.bytes;
    if (const std::size_t now = attack.read(10'000)) {
      read += now;
      still = 0;
    }
    attack.world.run_for(kMillisecond);
  }

  CHECK_FALSE(attack.is_down());
  CHECK(attack.frames == kFrames);
  CHECK(read >= kFrames * kHeaderBytes);
}

TEST_CASE("a child that never reads what it asked for is given up as silent") {
  Attack attack(11, {.is_rough = false});
  attack.answers = true;
  const Buffer one = frame({.flags = kFirst | kLast, .handle = 7});
  Buffer many;
  for (int i = 0; i < 1'000; ++i) many.insert(many.end(), one.begin(), one.end());
  const Nanos began = attack.world.now();

  while (attack.write(many)) {
  }

  CHECK(attack.down.starts_with("nothing was heard for 1"));
  CHECK(attack.world.now() - began < 20 * kSecond);
}

TEST_CASE("control is counted for each context that speaks through a link, and not at all from a parent") {
  LinkLimits limits;
  limits.control_per_second = 100;
  const auto survives = [&](int voices, int frames, bool to_parent) {
    Attack attack(12, {.latency_max = 20 * kMicrosecond, .is_rough = false}, limits, to_parent);
    attack.link->add_voices(voices);
    Buffer many;
    for (int i = 0; i < frames; ++i) {
      const Buffer one = frame(control(kHold));
      many.insert(many.end(), one.begin(), one.end());
    }
    attack.write(many);
    attack.world.run_for(10 * kMillisecond);
    CHECK(attack.down == (attack.is_down() ? "control frames faster than allowed" : ""));
    return !attack.is_down();
  };
  CHECK(survives(0, 90, false));
  CHECK_FALSE(survives(0, 150, false));
  CHECK(survives(1, 150, false));
  CHECK_FALSE(survives(1, 250, false));
  CHECK(survives(0, 10'000, true));
}

TEST_CASE("whoever announces contexts without end, or ends and announces them, may say no more for it") {
  LinkLimits limits;
  limits.control_per_second = 100;
  const auto survives = [&](int times, int voices, int frames) {
    Attack attack(13, {.latency_max = 20 * kMicrosecond, .is_rough = false}, limits);
    attack.link->set_voices_max(8);
    for (int i = 0; i < times; ++i) {
      attack.link->add_voices(voices);
      if (i + 1 < times) attack.link->add_voices(-voices);
    }
    Buffer many;
    for (int i = 0; i < frames; ++i) {
      const Buffer one = frame(control(kHold));
      many.insert(many.end(), one.begin(), one.end());
    }
    attack.write(many);
    attack.world.run_for(10 * kMillisecond);
    return !attack.is_down();
  };
  CHECK(survives(1, 7, 780));
  CHECK(survives(1, 60'000, 780));
  CHECK_FALSE(survives(1, 60'000, 900));
  CHECK(survives(1'000, 1, 190));
  CHECK_FALSE(survives(1'000, 1, 250));
}

TEST_CASE("data beyond the link window ends the link, empty frames included") {
  for (const std::size_t payload : {std::size_t(0), std::size_t(60'000)}) {
    CAPTURE(payload);
    LinkLimits limits;
    limits.window = 200'000;
    Attack attack(5, {.is_rough = false}, limits);
    attack.keeps = true;
    const Buffer one = frame({.flags = kFirst | kLast, .handle = 7}, Buffer(payload));
    Buffer many;
    while (many.size() < 100'000) many.insert(many.end(), one.begin(), one.end());

    for (int i = 0; i < 10 && attack.write(many); ++i) {
    }

    CHECK(attack.down == "the link window was overrun");
    CHECK(attack.link->held() <= limits.window);
  }
}

TEST_CASE("credit that nobody can mean ends the link") {
  for (const std::uint64_t credit : {std::uint64_t(0), std::uint64_t(1) << 41, UINT64_MAX}) {
    CAPTURE(credit);
    Attack attack(6);

    attack.write(frame(control(kLinkCredit), Packer().array(1).number(credit).take()));
    attack.world.run_for(kSecond);

    CHECK(attack.down == "a link-credit frame that makes no sense");
  }
}

TEST_CASE("a peer that says it is blocked without having sent anything gets no wider window") {
  Attack attack(7);
  const std::uint64_t before = attack.budget.left;

  for (int i = 0; i < 1'000; ++i) attack.write(frame(control(kLinkBlocked)));

  CHECK(attack.budget.left == before);
  CHECK_FALSE(attack.is_down());
}

TEST_CASE("garbage ends the link with its first bytes, whatever they claim as a length") {
  for (std::uint64_t seed : test::seeds(200)) {
    CAPTURE(seed);
    Attack attack(seed);
    Buffer garbage(200);
    for (std::uint8_t& byte : garbage) byte = std::uint8_t(attack.world.random());
    garbage[0] ^= garbage[0] == 'B';

    attack.write(garbage);
    attack.world.run_for(kSecond);

    CHECK(attack.down.starts_with("not a banyan frame: "));
  }
}
