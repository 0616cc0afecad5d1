// Goal: a simulated world behaves like a bad network and a fair kernel, and the same seed replays it.
// Method: two nodes and a wire for each rule; a ring of nodes under faults for the replay.

#include "tests/simulation/sim_loop.h"

#include <catch2/catch.hpp>
#include <cerrno>
#include <string>

namespace banyan {
namespace {

using Status = IoResult::Status;

// Writes all it was given as the wire takes it, and keeps all it reads.
class Peer {
 public:
  Peer(Loop& loop, int fd) : loop_(loop), fd_(fd) {
    watch_ = loop_.watch(fd, {true, false}, [this](Ready ready) { on_ready(ready); });
  }
  ~Peer() { close(); }

  void send(const Buffer& data) {
    out_.insert(out_.end(), data.begin(), data.end());
    loop_.change(watch_, {is_reading, true});
  }
  void set_reading(bool reading) {
    is_reading = reading;
    loop_.change(watch_, {reading, out_.size() > written_});
  }
  void close() {
    if (fd_ < 0) return;
    loop_.unwatch(watch_);
    loop_.close(fd_);
    fd_ = -1;
  }

  Buffer in;
  std::size_t written() const { return written_; }
  bool ended = false;
  int error = 0;
  int reads = 0;
  bool is_reading = true;

 private:
  void on_ready(Ready ready) {
    if (ready.read) {
      std::uint8_t bytes[4096];
      const IoResult result = loop_.read(fd_, bytes, sizeof bytes);
      ++reads;
      if (result.status == Status::kOk) in.insert(in.end(), bytes, bytes + result.bytes);
      if (result.status == Status::kEnd || result.status == Status::kError) {
        ended = true;
        error = result.error;
        close();
        return;
      }
    }
    if (ready.write && written_ < out_.size()) {
      const std::size_t half = (out_.size() - written_) / 2;
      const iovec parts[2] = {{out_.data() + written_, half},
                              {out_.data() + written_ + half, out_.size() - written_ - half}};
      const IoResult result = loop_.write(fd_, parts, 2);
      if (result.status == Status::kOk) written_ += result.bytes;
      if (result.status == Status::kError) {
        error = result.error;
        written_ = out_.size();
      }
      if (written_ == out_.size()) loop_.change(watch_, {is_reading, false});
    }
  }

  Loop& loop_;
  int fd_;
  Loop::WatchId watch_ = 0;
  Buffer out_;
  std::size_t written_ = 0;
};

struct TwoNodes {
  SimWorld world;
  SimLoop& a;
  SimLoop& b;
  std::pair<int, int> fds;
  Peer left, right;

  explicit TwoNodes(std::uint64_t seed, const SimWire& wire = {})
      : world(seed),
        a(world.add_loop()),
        b(world.add_loop()),
        fds(world.make_pair(a, b, wire)),
        left(a, fds.first),
        right(b, fds.second) {}
};

Buffer numbered_bytes(std::size_t size) {
  Buffer data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = std::uint8_t(i * 31 + i / 256);
  return data;
}

bool is_prefix(const Buffer& of, const Buffer& whole) {
  return of.size() <= whole.size() && std::equal(of.begin(), of.end(), whole.begin());
}

// A few nodes in a ring that pass on what they get, some cut, stopped and killed on the way.
std::uint64_t trace_of_a_ring(std::uint64_t seed) {
  SimWorld world(seed);
  constexpr std::size_t kNodes = 8;
  std::vector<SimLoop*> loops;
  for (std::size_t i = 0; i < kNodes; ++i) loops.push_back(&world.add_loop());
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<std::pair<int, int>> fds;
  for (std::size_t i = 0; i < kNodes; ++i) {
    SimLoop& to = *loops[(i + 1) % kNodes];
    fds.push_back(world.make_pair(*loops[i], to));
    peers.push_back(std::make_unique<Peer>(*loops[i], fds[i].first));
    peers.push_back(std::make_unique<Peer>(to, fds[i].second));
    loops[i]->after(Nanos(world.below(50)) * kMillisecond,
                    [&peers, i] { peers[2 * i]->send(numbered_bytes(20'000)); });
    to.post([&peers, i] { peers[2 * i + 1]->send(numbered_bytes(100)); });
  }
  world.run_for(3 * kMillisecond);
  if (world.one_in(2)) world.cut(*loops[1], fds[1].first);
  world.stop(*loops[3]);
  world.run_for(20 * kMillisecond);
  world.kill(*loops[5]);
  world.resume(*loops[3]);
  CHECK(world.run_until_idle());
  return world.trace_hash();
}

TEST_CASE("the same seed gives the same trace, another seed another") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    CHECK(trace_of_a_ring(seed) == trace_of_a_ring(seed));
    CHECK(trace_of_a_ring(seed) != trace_of_a_ring(seed + 1'000));
  }
}

TEST_CASE("bytes arrive whole and in order, however they are split") {
  const Buffer data = numbered_bytes(300'000);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CAPTURE(seed);
    TwoNodes nodes(seed);
    nodes.left.send(data);
    nodes.right.send(numbered_bytes(1'000));
    CHECK(nodes.world.run_until_idle());
    CHECK(nodes.right.in == data);
    CHECK(nodes.left.in == numbered_bytes(1'000));
    CHECK(nodes.right.reads > 300'000 / 4096 + 5);  // not in as few reads as would do
    nodes.left.close();
    CHECK(nodes.world.run_until_idle());
    CHECK(nodes.right.ended);
    CHECK(nodes.right.error == 0);
    CHECK(nodes.a.open_descriptors() + nodes.b.open_descriptors() == 0);
  }
}

TEST_CASE("a wire that is not rough splits nothing") {
  SimWire wire;
  wire.is_rough = false;
  TwoNodes nodes(1, wire);
  nodes.left.send(numbered_bytes(4'096));
  CHECK(nodes.world.run_until_idle());
  CHECK(nodes.right.reads == 1);
}

TEST_CASE("a reader that pauses stops its writer at the wire's capacity") {
  SimWire wire;
  wire.capacity = 10'000;
  TwoNodes nodes(7, wire);
  nodes.right.set_reading(false);
  nodes.left.send(numbered_bytes(50'000));
  CHECK(nodes.world.run_until_idle());
  CHECK(nodes.left.written() == 10'000);
  CHECK(nodes.right.in.empty());
  nodes.right.set_reading(true);
  CHECK(nodes.world.run_until_idle());
  CHECK(nodes.right.in == numbered_bytes(50'000));
}

TEST_CASE("a cut leaves a prefix, and both ends learn of it") {
  const Buffer data = numbered_bytes(20'000);
  int partial = 0, errors = 0, ends = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    TwoNodes nodes(seed);
    nodes.left.send(data);
    nodes.world.run_for(kMillisecond);
    nodes.world.cut(nodes.a, nodes.fds.first);
    CHECK(nodes.world.run_until_idle());
    CHECK(nodes.left.ended);
    CHECK(nodes.right.ended);
    CHECK(is_prefix(nodes.right.in, data));
    partial += !nodes.right.in.empty() && nodes.right.in.size() < data.size();
    (nodes.right.error != 0 ? errors : ends) += 1;
  }
  CHECK(partial > 20);
  CHECK(errors > 20);
  CHECK(ends > 20);
}

TEST_CASE("after a silent cut nothing arrives and nobody is told") {
  TwoNodes nodes(3);
  nodes.left.send(numbered_bytes(100));
  CHECK(nodes.world.run_until_idle());
  nodes.world.cut_silently(nodes.b, nodes.fds.second);
  nodes.left.send(numbered_bytes(200'000));
  CHECK(nodes.world.run_until_idle());
  nodes.world.run_for(3600 * kSecond);
  CHECK(nodes.right.in.size() == 100);
  CHECK_FALSE(nodes.left.ended);
  CHECK_FALSE(nodes.right.ended);
  CHECK(nodes.left.written() == 100 + 64 * 1024);  // the wire holds no more
  nodes.right.close();
  nodes.world.run_for(3600 * kSecond);
  CHECK_FALSE(nodes.left.ended);
}

TEST_CASE("closing with something unread is a reset for the other end") {
  TwoNodes nodes(4);
  nodes.right.set_reading(false);
  nodes.left.send(numbered_bytes(100));
  CHECK(nodes.world.run_until_idle());
  nodes.right.close();
  CHECK(nodes.world.run_until_idle());
  CHECK(nodes.left.ended);
  CHECK(nodes.left.error == ECONNRESET);
}

TEST_CASE("writing to a closed end is lost first and an error later") {
  SimWorld world(5);
  SimLoop& a = world.add_loop();
  SimLoop& b = world.add_loop();
  SimWire wire;
  wire.is_rough = false;
  const auto [left, right] = world.make_pair(a, b, wire);
  b.close(right);
  std::uint8_t byte = 1;
  const iovec part = {&byte, 1};
  CHECK(a.write(left, &part, 1).status == Status::kOk);
  CHECK(world.run_until_idle());
  const IoResult result = a.write(left, &part, 1);
  CHECK(result.status == Status::kError);
  CHECK(result.error == EPIPE);
  a.close(left);
}

TEST_CASE("a stopped node does nothing, and catches up when it continues") {
  TwoNodes nodes(6);
  Nanos fired_at = 0;
  nodes.b.after(kSecond, [&] { fired_at = nodes.world.now(); });
  nodes.world.stop(nodes.b);
  nodes.left.send(numbered_bytes(5'000));
  nodes.world.run_for(10 * kSecond);
  CHECK(nodes.right.in.empty());
  CHECK(fired_at == 0);
  nodes.world.resume(nodes.b);
  CHECK(nodes.world.run_until_idle());
  CHECK(nodes.right.in == numbered_bytes(5'000));
  CHECK(fired_at >= 10 * kSecond);
}

TEST_CASE("a killed node runs nothing, its peers see its end, and its objects may still be destroyed") {
  TwoNodes nodes(8);
  bool ran = false;
  nodes.b.after(kMillisecond, [&] { ran = true; });
  nodes.b.post([&] { ran = true; });
  nodes.world.kill(nodes.b);
  CHECK(nodes.b.open_descriptors() == 0);
  nodes.b.post([&] { ran = true; });
  CHECK(nodes.b.after(0, [&] { ran = true; }) == 0);
  nodes.world.run_for(kSecond);
  CHECK_FALSE(ran);
  CHECK(nodes.left.ended);
  nodes.right.close();
}

TEST_CASE("a node may kill itself from a watcher, a timer and a task") {
  for (int way = 0; way < 3; ++way) {
    CAPTURE(way);
    SimWorld world(9);
    SimLoop& a = world.add_loop();
    SimLoop& b = world.add_loop();
    const auto [left, right] = world.make_pair(a, b);
    int ran = 0;
    auto end = [&] {
      ++ran;
      world.kill(a);
    };
    if (way == 0) a.watch(left, {false, true}, [&](Ready) { end(); });
    for (int i = 0; i < 2; ++i) {
      if (way == 1) a.after(kMillisecond, end);
      if (way == 2) a.post(end);
    }
    world.run_for(kSecond);
    CHECK(ran == 1);
    std::uint8_t byte;
    CHECK(b.read(right, &byte, 1).status == Status::kEnd);
    b.close(right);
  }
}

TEST_CASE("a bandwidth is kept") {
  SimWire wire;
  wire.bytes_per_second = 1'000'000;
  wire.capacity = 1 << 20;
  TwoNodes nodes(10, wire);
  nodes.left.send(numbered_bytes(500'000));
  CHECK(nodes.world.run_until([&] { return nodes.right.in.size() == 500'000; }, 10 * kSecond));
  CHECK(nodes.world.now() >= 500 * kMillisecond);
  CHECK(nodes.world.now() <= 600 * kMillisecond);
}

TEST_CASE("idle does not wait for timers, and says when there is no rest to be had") {
  SimWorld world(11);
  SimLoop& loop = world.add_loop();
  bool fired = false;
  const Loop::TimerId timer = loop.after(kSecond, [&] { fired = true; });
  int tasks = 0;
  loop.post([&] { loop.post([&] { ++tasks; }); });
  CHECK(world.run_until_idle());
  CHECK(tasks == 1);
  CHECK_FALSE(fired);
  CHECK(world.now() < kSecond);
  loop.cancel(timer);
  world.run_for(2 * kSecond);
  CHECK_FALSE(fired);

  struct Restless {
    SimLoop& loop;
    void run() {
      loop.post([this] { run(); });
    }
  } restless{loop};
  restless.run();
  CHECK_FALSE(world.run_until_idle(10 * kMillisecond));
}

TEST_CASE("tasks and timers of one node keep their order") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    SimWorld world(seed);
    SimLoop& loop = world.add_loop();
    std::string order;
    for (char c = 'a'; c <= 'z'; ++c) loop.post([&order, c] { order += c; });
    for (char c = '0'; c <= '9'; ++c) loop.after(kMillisecond, [&order, c] { order += c; });
    world.run_for(kSecond);
    CHECK(order == "abcdefghijklmnopqrstuvwxyz0123456789");
  }
}

TEST_CASE("a number is given out again, and an event for its last owner reaches nobody") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    SimWorld world(seed);
    SimLoop& a = world.add_loop();
    SimLoop& b = world.add_loop();
    std::pair<int, int> wires[2] = {world.make_pair(a, b), world.make_pair(a, b)};
    Loop::WatchId watches[2];
    int calls = 0, stale = 0;
    bool reused = false;
    for (int i = 0; i < 2; ++i)
      watches[i] = a.watch(wires[i].first, {false, true}, [&, i](Ready) {
        if (++calls > 1) return;
        a.unwatch(watches[1 - i]);
        a.close(wires[1 - i].first);
        const auto fresh = world.make_pair(a, b);
        reused = fresh.first == wires[1 - i].first;
        a.watch(fresh.first, {true, false}, [&](Ready) { ++stale; });
        a.unwatch(watches[i]);
      });
    CHECK(world.run_until_idle());
    CHECK(reused);
    CHECK(calls == 1);
    CHECK(stale == 0);
  }
}

}  // namespace
}  // namespace banyan
