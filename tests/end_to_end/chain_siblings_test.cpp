// Goal: however many hosts lie beneath a hop, the image that runs on them crosses the wire to the hop once,
// and the wire to each of them once. Method: machines that lie side by side behind one hop, each on a wire of
// its own; a command on all of them at once; the kernel counts what every wire carries, headers of packets
// and all, and the images have their sizes.
#include <sys/utsname.h>

#include "parent/image.h"
#include "parent/image_header.h"
#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;
using banyan::ImageKind;

namespace {

// Beside images a wire to a hop carries some 8 KB for each host beneath it, which say what is to be started,
// sign, and acknowledge; and a connection of its own costs a wire 14 KB at most. An image is 60 KB and more.
constexpr std::uint64_t kTalkBytesMax = 10'000, kConnectionBytesMax = 30'000;

std::uint64_t bytes_of(ImageKind kind) {
  utsname name{};
  ::uname(&name);
  const banyan::Image& image = *banyan::embedded_images().find(name.machine, kind);
  return banyan::kImageHeaderBytes + image.loader.size() + image.compressed.size();
}

struct Received {
  std::uint64_t hop = 0;
  std::vector<std::uint64_t> hosts;
};

// What came by the wires for a command on h1, h2, ... and `last`. All that was sent is of agents' images.
Received received_for(TestedChain& chain, const char* config, const std::string& hop, std::size_t last) {
  const auto so_far = [&] {
    Received received{chain['A'].bytes_received(), {}};
    for (std::size_t i = 1; i <= last; ++i) received.hosts.push_back(chain.leaf(i).bytes_received());
    return received;
  };
  const Received before = so_far();
  const Finished got = run_at_home(
      chain, {"run", "-v", "--json", "-F", config, cat(hop, "h[1-", last, "]"), "--", "hostname"});
  CAPTURE(got.out, got.err);
  CHECK(got.code == 0);
  CHECK(count_of(got.out, "\"event\":\"exit\"") == last);
  CHECK(count_of(got.err, cat(" ", bytes_of(ImageKind::kAgent), " bytes sent")) == last);
  CHECK(chain.is_quiet());
  Received received = so_far();
  received.hop -= before.hop;
  for (std::size_t i = 0; i < last; ++i) received.hosts[i] -= before.hosts[i];
  return received;
}

}  // namespace

TEST_CASE(
    "to twenty hosts beneath a hop an image crosses the wire to the hop once, and each host's wire once") {
  if (!has_chain()) return;
  constexpr std::size_t kHosts = 20;
  TestedChain chain({.length = 1, .leaves = kHosts});
  const std::uint64_t hop = bytes_of(ImageKind::kHop), agent = bytes_of(ImageKind::kAgent);
  REQUIRE(agent > kConnectionBytesMax + kTalkBytesMax);

  const Received one = received_for(chain, Chain::kRelay, "A/", 1);
  const Received all = received_for(chain, Chain::kRelay, "A/", kHosts);

  CHECK(one.hop >= hop + agent);
  CHECK(one.hop < hop + agent + kConnectionBytesMax);
  CHECK(all.hop >= hop + agent);
  CHECK(all.hop < one.hop + (kHosts - 1) * kTalkBytesMax);
  for (const std::uint64_t host : all.hosts) {
    CHECK(host >= agent);
    CHECK(host < agent + kConnectionBytesMax);
  }
}

TEST_CASE("behind a jump host an image crosses the wire to it as often as there are hosts") {
  if (!has_chain()) return;
  constexpr std::size_t kHosts = 3;
  TestedChain chain({.length = 1, .leaves = kHosts});
  const std::uint64_t agent = bytes_of(ImageKind::kAgent);
  const Received all = received_for(chain, Chain::kTunnel, "", kHosts);
  CHECK(all.hop >= kHosts * agent);
  CHECK(all.hop < kHosts * (agent + kConnectionBytesMax));
}
