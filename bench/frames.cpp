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
const std::vector<int> kOneCore = {0}, kTwoCores = {0, 1}, kWherever = {kAnywhere};

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
      "104 bytes (header and payload) to and fro between two processes with an epoll each.");
  Chain chain(1);
  BarePingPong bare(0);
  struct Place {
    const char* what;
    const std::vector<int>& processors;
    Budget budget;
  };
  for (const Place& place :
       {Place{"both on one core", kOneCore, {2, 0}}, Place{"on two cores, asleep", kTwoCores, {1.2, 0}}}) {
    chain.place(place.processors);
    bare.place(place.processors);
    Samples ours, peer, warm_up;
    round_trips(chain, 1, kTripsPerRound, warm_up);
    bare.round_trips(kWireBytes, kTripsPerRound, warm_up);
    for (int i = 0; i < kRounds; ++i) {
      bare.round_trips(kWireBytes, kTripsPerRound, peer);
      round_trips(chain, 1, kTripsPerRound, ours);
    }
    table.at_most(place.what, in_us(ours), in_us(peer), ours.median() / peer.median(), place.budget);
  }
  chain.place(kOneCore);
  Samples counted;
  const std::uint64_t before = chain.calls_of_system();
  round_trips(chain, 1, kTripsPerRound, counted);
  table.plain("system calls for a round trip",
              format("%.2f", double(chain.calls_of_system() - before) / kTripsPerRound), "6", 0);
  table.note("No loop of ours spins before it sleeps, so there is no row for that.");
  chain.place(kWherever);
}

void measure_hops() {
  Table table(
      "Each relaying hop",
      "Round trips of 64 bytes through contexts in between; the peer's relays read and write between two "
      "sockets with an epoll, and know neither frames nor routes.");
  Chain chain(kHopsMax + 1);
  std::array<BarePingPong, kHopsMax + 1> bare{BarePingPong(0), BarePingPong(1), BarePingPong(2),
                                              BarePingPong(3)};
  struct Place {
    std::string what;
    const std::vector<int>& processors;
  };
  for (const Place& place :
       {Place{"all on one core", kOneCore}, Place{"on two cores in turn, asleep", kTwoCores}}) {
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
      table.plain(format("%s, relays: %zu", place.what.c_str(), hops), in_us(ours[hops]), in_us(peer[hops]),
                  ours[hops].median() / peer[hops].median());
    const double our_tax = (ours[kHopsMax].median() - ours[0].median()) / kHopsMax;
    const double bare_tax = (peer[kHopsMax].median() - peer[0].median()) / kHopsMax;
    table.at_most(place.what + ", added by each relay", format("%.1f us", our_tax),
                  format("%.1f us", bare_tax), our_tax / bare_tax, {1.6, 0});
  }
  chain.place(kWherever);
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

std::string in_rate(const Samples& samples) {
  return format("%.0f MB/s (worst %.0f)", samples.median(), samples.quantile(0));
}

}  // namespace

void measure_streams() {
  constexpr std::uint64_t kBytes = 256 << 20;
  constexpr std::size_t kMessageBytes = 128 << 10;
  constexpr std::size_t kRelaysMax = 2;
  Table table(
      "Streams",
      "256 MiB in stream writes of 64 KiB; the peer writes and reads blocks of 128 KiB on a socketpair, and "
      "its relays splice(). Processes run wherever the kernel puts them.");
  Chain chain(kRelaysMax + 1);
  std::array<Samples, kRelaysMax + 1> ours, peer, our_time, peer_time;
  Samples messages;
  constexpr double kMib = double(kBytes >> 20);
  stream_rate(chain, kRelaysMax + 1, kBytes / 4);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t hops = 0; hops <= kRelaysMax; ++hops) {
      double used = family_cpu_us();
      peer[hops].add(bare_stream_rate(int(hops), kBytes));
      peer_time[hops].add((family_cpu_us() - used) / kMib);
      used = chain.processor_time_us();
      ours[hops].add(stream_rate(chain, ContextId(hops + 1), kBytes));
      our_time[hops].add((chain.processor_time_us() - used) / kMib);
    }
    messages.add(message_rate(chain, 1, kMessageBytes, int(kBytes / kMessageBytes)));
  }
  for (std::size_t hops = 0; hops <= kRelaysMax; ++hops)
    table.at_least(format("relays: %zu", hops), in_rate(ours[hops]), in_rate(peer[hops]),
                   ours[hops].median() / peer[hops].median(), {hops == 0 ? 0.4 : 0.5, 0});
  for (std::size_t hops = 0; hops <= kRelaysMax; ++hops)
    table.plain(
        format("relays: %zu, processor time of all", hops), format("%.0f us/MiB", our_time[hops].median()),
        format("%.0f us/MiB", peer_time[hops].median()), our_time[hops].median() / peer_time[hops].median());
  table.plain("calls of 128 KiB, relays: 0", in_rate(messages), in_rate(peer[0]),
              messages.median() / peer[0].median());
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
