#include <array>
#include <string>

#include "bench/chain.h"
#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/peers.h"
#include "core/stream.h"

namespace banyan::bench {

namespace {

constexpr std::size_t kPayloadBytes = 64;
constexpr std::size_t kWireBytes = kHeaderBytes + kPayloadBytes;
constexpr int kRounds = 10;
constexpr int kTripsPerRound = 2'000;
constexpr int kHopsMax = 3;

struct Place {
  const char* what;
  std::vector<int> processors;
};
const Place kOneCore{"on one core", {0}}, kTwoCores{"on two cores in turn", {0, 1}};
const Place kPlaces[] = {kOneCore, kTwoCores};

void check(const Reply& reply) {
  if (reply.dead != nullptr) die("a call was answered dead: " + reply.dead->text);
}

// Calls one after another, each awaited on our loop and served on theirs.
void round_trips(Chain& chain, ContextId callee, int count, Samples& samples) {
  const Buffer payload(kPayloadBytes);
  double began = 0;
  std::function<void()> next = [&] {
    began = now_us();
    chain.router().call(callee, kEcho, payload, [&](const Reply& reply) {
      check(reply);
      samples.add(now_us() - began);
      if (--count > 0) return next();
      chain.loop().stop();
    });
  };
  next();
  chain.loop().run();
}

}  // namespace

void measure_round_trips() {
  Table table(
      "A call and its reply",
      "64 bytes each way, served on the callee's loop and awaited on the caller's; the peer sends the same "
      "104 bytes (header and payload) to and fro between two processes with an epoll each. On two cores both "
      "sleep "
      "in epoll_wait() until the other one writes.");
  Chain chain(1);
  BarePingPong bare(0);
  for (const Place& place : kPlaces) {
    const Budget budget = place.processors.size() == 1 ? Budget{2, 0} : Budget{1.2, 0};
    chain.place(place.processors);
    bare.place(place.processors);
    Samples ours, peer, warm_up;
    round_trips(chain, 1, kTripsPerRound, warm_up);
    bare.round_trips(kWireBytes, kTripsPerRound, warm_up);
    for (int i = 0; i < kRounds; ++i) {
      bare.round_trips(kWireBytes, kTripsPerRound, peer);
      round_trips(chain, 1, kTripsPerRound, ours);
    }
    table.at_most(place.what, in_us(ours), in_us(peer), ours.median() / peer.median(), budget);
  }
  chain.place(kOneCore.processors);
  Samples counted;
  const std::uint64_t before = chain.calls_of_system();
  round_trips(chain, 1, kTripsPerRound, counted);
  table.plain("system calls for a round trip",
              format("%.2f", double(chain.calls_of_system() - before) / kTripsPerRound), "6", 0);
  table.note("No loop of ours spins before it sleeps, so there is no row for that.");
  pin(kOurselves, kAnywhere);
}

void measure_hops() {
  Table table(
      "Each relaying hop",
      "Round trips of 64 bytes through contexts in between; the peer's relays read and write between two "
      "sockets with an epoll, and know neither frames nor routes.");
  Chain chain(kHopsMax + 1);
  std::array<BarePingPong, kHopsMax + 1> bare{BarePingPong(0), BarePingPong(1), BarePingPong(2),
                                              BarePingPong(3)};
  for (const Place& place : kPlaces) {
    chain.place(place.processors);
    std::array<Samples, kHopsMax + 1> ours, peer;
    Samples warm_up;
    round_trips(chain, kHopsMax + 1, kTripsPerRound, warm_up);
    for (int round = 0; round < kRounds; ++round)
      for (std::size_t hops = 0; hops <= kHopsMax; ++hops) {
        bare[hops].place(place.processors);
        bare[hops].round_trips(kWireBytes, kTripsPerRound / 2, peer[hops]);
        round_trips(chain, ContextId(hops + 1), kTripsPerRound / 2, ours[hops]);
      }
    for (std::size_t hops = 0; hops <= kHopsMax; ++hops)
      table.plain(format("%s, relays: %zu", place.what, hops), in_us(ours[hops]), in_us(peer[hops]),
                  ours[hops].median() / peer[hops].median());
    const double our_tax = (ours[kHopsMax].median() - ours[0].median()) / kHopsMax;
    const double bare_tax = (peer[kHopsMax].median() - peer[0].median()) / kHopsMax;
    table.at_most(format("%s, added by each relay", place.what), format("%.1f us", our_tax),
                  format("%.1f us", bare_tax), our_tax / bare_tax, {1.6, 0});
  }
  pin(kOurselves, kAnywhere);
}

namespace {

// MB (10^6 bytes) a second.
double stream_rate(Chain& chain, ContextId to, std::uint64_t bytes) {
  const Buffer block(kFramePayloadMax);
  StreamSender sender(chain.router(), to, kSink);
  std::uint64_t left = bytes;
  auto pump = [&] {
    while (left > 0) {
      const std::size_t now =
          std::size_t(std::min<std::uint64_t>(left, std::min(sender.room(), block.size())));
      if (now == 0) return;
      sender.send(Bytes(block).first(now));
      left -= now;
    }
  };
  sender.on_writable = pump;
  sender.on_dead = [](const Dead& dead) { die("a stream died: " + dead.text); };
  Buffer awaited(sizeof bytes);
  store_le<std::uint64_t>(awaited.data(), bytes);
  chain.router().call(to, kTaken, std::move(awaited), [&](const Reply& reply) {
    check(reply);
    chain.loop().stop();
  });
  const double began = now_us();
  pump();
  chain.loop().run();
  const double took = now_us() - began;
  sender.finish();
  return double(bytes) / took;
}

// Messages that are longer than a frame, so that they are cut and put together; a few on their way at a time.
double message_rate(Chain& chain, ContextId to, std::size_t size, int count) {
  constexpr int kOnTheirWay = 8;
  const Buffer payload(size);
  int unsent = count, unanswered = count;
  std::function<void()> send = [&] {
    --unsent;
    chain.router().call(to, kTake, payload, [&](const Reply& reply) {
      check(reply);
      if (unsent > 0) send();
      if (--unanswered == 0) chain.loop().stop();
    });
  };
  const double began = now_us();
  for (int i = 0; i < kOnTheirWay; ++i) send();
  chain.loop().run();
  return double(size) * count / (now_us() - began);
}

}  // namespace

void measure_streams() {
  constexpr std::uint64_t kBytes = 128 << 20;
  constexpr double kMib = double(kBytes >> 20);
  constexpr std::size_t kMessageBytes = 128 << 10;
  constexpr std::size_t kRelaysMax = 2;
  Table table(
      "Streams",
      "128 MiB in stream writes of 64 KiB; the peer writes and reads blocks of 128 KiB on a socketpair, and "
      "its relays splice(). In brackets the processor time of all processes together.");
  Chain chain(kRelaysMax + 1);
  auto shown = [](const Samples& rate, const Samples& cost) {
    return format("%.0f MB/s (%.0f us/MiB)", rate.median(), cost.median());
  };
  for (const Place& place : kPlaces) {
    std::array<Samples, kRelaysMax + 1> ours, peer, our_cost, peer_cost;
    Samples messages, message_cost;
    chain.place(place.processors);
    stream_rate(chain, kRelaysMax + 1, kBytes);
    for (int round = 0; round < kRounds; ++round) {
      double used = 0;
      for (std::size_t hops = 0; hops <= kRelaysMax; ++hops) {
        used = family_cpu_us();
        peer[hops].add(bare_stream_rate(int(hops), place.processors, kBytes));
        peer_cost[hops].add((family_cpu_us() - used) / kMib);
        used = chain.processor_time_us();
        ours[hops].add(stream_rate(chain, ContextId(hops + 1), kBytes));
        our_cost[hops].add((chain.processor_time_us() - used) / kMib);
      }
      used = chain.processor_time_us();
      messages.add(message_rate(chain, 1, kMessageBytes, int(kBytes / kMessageBytes)));
      message_cost.add((chain.processor_time_us() - used) / kMib);
    }
    for (std::size_t hops = 0; hops <= kRelaysMax; ++hops)
      table.at_least(format("%s, relays: %zu", place.what, hops), shown(ours[hops], our_cost[hops]),
                     shown(peer[hops], peer_cost[hops]), ours[hops].median() / peer[hops].median(),
                     {hops == 0 ? 0.4 : 0.5, 0});
    table.plain(format("%s, calls of 128 KiB", place.what), shown(messages, message_cost),
                shown(peer[0], peer_cost[0]), messages.median() / peer[0].median());
  }
  pin(kOurselves, kAnywhere);
}

namespace {

void many_calls(Chain& chain, int outstanding, int count) {
  const Buffer payload(kPayloadBytes);
  int unsent = count, unanswered = count;
  std::function<void()> send = [&] {
    --unsent;
    chain.router().call(1, kEcho, payload, [&](const Reply& reply) {
      check(reply);
      if (unsent > 0) send();
      if (--unanswered == 0) chain.loop().stop();
    });
  };
  for (int i = 0; i < outstanding; ++i) send();
  chain.loop().run();
}

}  // namespace

void measure_many_calls() {
  constexpr int kOutstanding = 1'000;
  constexpr int kCalls = 200'000;
  constexpr std::size_t kBatch = 64 << 10;
  constexpr int kBatches = int(kCalls * kWireBytes / kBatch);
  Table table(
      "A thousand calls outstanding",
      "64 bytes each way. The peer sends as many bytes to and fro in batches of 64 KiB: no frame in them is "
      "looked at, so it is the least that the kernel wants for them.");
  Chain chain(1);
  BarePingPong bare(0);
  Samples per_second, system_calls, ours, peer, ignored;
  many_calls(chain, kOutstanding, kCalls / 4);
  for (int round = 0; round < kRounds; ++round) {
    const double began = now_us(), used = chain.processor_time_us();
    const std::uint64_t before = chain.calls_of_system();
    many_calls(chain, kOutstanding, kCalls);
    per_second.add(kCalls / (now_us() - began) * 1e6);
    ours.add((chain.processor_time_us() - used) / kCalls);
    system_calls.add(double(chain.calls_of_system() - before) / kCalls);
    const double bare_used = bare.processor_time_us();
    bare.round_trips(kBatch, kBatches, ignored);
    peer.add((bare.processor_time_us() - bare_used) / kCalls);
  }
  table.plain("calls a second", format("%.0f", per_second.median()), "", 0);
  table.within("system calls a call", format("%.3f", system_calls.median()), "", system_calls.median(),
               "calls", {0.1, 0});
  table.at_most("processor time of both, for a call", format("%.2f us", ours.median()),
                format("%.2f us", peer.median()), ours.median() / peer.median(), {3, 2});
}

}  // namespace banyan::bench
