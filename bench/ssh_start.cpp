// One child behind ssh, from the start to its hello and to its first reply, beside `ssh host true`.

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/root.h"
#include "bench/server.h"
#include "transports/libssh2.h"
#include "transports/openssh.h"

namespace banyan::bench {

namespace {

constexpr int kRuns = 15;
constexpr const char* kArchitecture = "x86_64";

struct Start {
  Samples hello, reply;
};

std::uint64_t fresh_nonce() {
  static std::uint64_t nonce = std::uint64_t(now_us());
  return ++nonce;
}

// Each has a root of its own, and so a connector that is started for it, as in `banyan run`.
template <class MakeRecipe>
void bring_up(Start& start, MakeRecipe&& make_recipe) {
  Root root;
  const Root::Times times = root.bring_up({make_recipe(root)});
  start.hello.add(times.hello);
  start.reply.add(times.answered);
}

Recipe by_openssh(const std::string& config, std::string_view architecture) {
  SshOptions options;
  options.config_file = config;
  return openssh({"h1", "", "h1", 0}, options, fresh_nonce(), architecture);
}

std::string shown(const Samples& samples) {
  return format("%.1f ms (worst %.1f)", samples.median() / 1e3, samples.quantile(1) / 1e3);
}

void row_in_ms(Table& table, const std::string& what, const Samples& ours, const Samples& peer) {
  table.within(what, shown(ours), shown(peer), (ours.median() - peer.median()) / 1e3, "ms more", {40, 20});
}

void row_as_ratio(Table& table, const std::string& what, const Samples& ours, const Samples& peer,
                  Budget budget) {
  const double ratio = ours.median() / peer.median();
  if (budget.must != 0)
    table.at_most(what, shown(ours), shown(peer), ratio, budget);
  else
    table.plain(what, shown(ours), shown(peer), ratio);
}

Words run_words(const std::string& config, const char* back_end) {
  return {beside_us("../banyan"), "run", "-q", "--ssh", back_end, "-F", config, "h1", "--", "true"};
}

void measure_common(const Server& server) {
  Table table("A child behind ssh, the same key exchange",
              format("%d runs each, in turns. The peer is `ssh host true`, the whole process; all use "
                     "curve25519-sha256, aes128-ctr and hmac-sha2-256. Known: the architecture of the host "
                     "and what `ssh -G` says of it are remembered from an earlier run.",
                     kRuns));
  const std::string config = server.config(Algorithms::kCommon);
  Samples peer, run_libssh2, run_libssh2_cold, run_openssh;
  Start libssh2_known, libssh2_unknown, openssh_known;
  TemporaryFolder warm;
  run_program(run_words(config, "libssh2"), {{"BANYAN_CACHE", warm.path()}});
  run_program(run_words(config, "openssh"), {{"BANYAN_CACHE", warm.path()}});
  const SessionSettings session = server.session();
  for (int i = 0; i < kRuns; ++i) {
    peer.add(run_program({"ssh", "-F", config, "h1", "true"}));
    bring_up(libssh2_known, [&](Root& root) {
      return libssh2("h1", session, {}, fresh_nonce(), kArchitecture, root.connectors());
    });
    bring_up(libssh2_unknown,
             [&](Root& root) { return libssh2("h1", session, {}, fresh_nonce(), "", root.connectors()); });
    bring_up(openssh_known, [&](Root&) { return by_openssh(config, kArchitecture); });
    run_libssh2.add(run_program(run_words(config, "libssh2"), {{"BANYAN_CACHE", warm.path()}}));
    run_openssh.add(run_program(run_words(config, "openssh"), {{"BANYAN_CACHE", warm.path()}}));
    TemporaryFolder cold;
    run_libssh2_cold.add(run_program(run_words(config, "libssh2"), {{"BANYAN_CACHE", cold.path()}}));
  }
  row_as_ratio(table, "libssh2: to its first reply, known", libssh2_known.reply, peer, {1, 0});
  row_as_ratio(table, "libssh2: to its first reply, unknown", libssh2_unknown.reply, peer, {1, 0});
  row_as_ratio(table, "libssh2: to its hello, known", libssh2_known.hello, peer, {});
  row_as_ratio(table, "libssh2: banyan run HOST -- true, known", run_libssh2, peer, {});
  row_as_ratio(table, "libssh2: banyan run HOST -- true, unknown", run_libssh2_cold, peer, {});
  row_in_ms(table, "openssh: to its first reply, known", openssh_known.reply, peer);
  row_as_ratio(table, "openssh: to its hello, known", openssh_known.hello, peer, {});
  row_in_ms(table, "openssh: banyan run HOST -- true, known", run_openssh, peer);
}

void measure_own_choice(const Server& server) {
  Table table("A child behind ssh, ssh's own choice of algorithms",
              format("%d runs each, in turns. The peer is `ssh host true`, the whole process, with the same "
                     "configuration; libssh2 cannot take part, since it knows no post-quantum key exchange.",
                     kRuns));
  const std::string config = server.config(Algorithms::kOwnChoice);
  Samples peer, run_known;
  Start known, unknown;
  TemporaryFolder warm;
  run_program(run_words(config, "openssh"), {{"BANYAN_CACHE", warm.path()}});
  for (int i = 0; i < kRuns; ++i) {
    peer.add(run_program({"ssh", "-F", config, "h1", "true"}));
    bring_up(known, [&](Root&) { return by_openssh(config, kArchitecture); });
    bring_up(unknown, [&](Root&) { return by_openssh(config, ""); });
    run_known.add(run_program(run_words(config, "openssh"), {{"BANYAN_CACHE", warm.path()}}));
  }
  row_in_ms(table, "openssh: to its first reply, known", known.reply, peer);
  row_in_ms(table, "openssh: to its first reply, unknown", unknown.reply, peer);
  row_in_ms(table, "openssh: banyan run HOST -- true, known", run_known, peer);
}

}  // namespace

void measure_ssh_start() {
  const Server server;
  measure_common(server);
  measure_own_choice(server);
}

}  // namespace banyan::bench
