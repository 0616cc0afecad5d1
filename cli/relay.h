// cli/relay.h -- the way from a hop to a host that its own ssh reaches (transports/relayed_ssh.h).
//
// What is decided here, at home: the settings of ssh for that host, the host keys to believe, which keys sign
// and for what, how many log in at a time at one server, and what is tried again.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "cli/targets.h"
#include "cli/way_record.h"
#include "parent/remote_runner.h"
#include "transports/admission.h"
#include "transports/arch_cache.h"
#include "transports/connectors.h"
#include "transports/ssh_facts.h"
#include "transports/ssh_question.h"

namespace banyan::cli {

struct RelayParts {
  Connectors& connectors;
  Secrets& secrets;
  ArchCache& cache;
  SshQuestions& questions;
  SshFacts& facts;
  const SshOptions& ssh;
  bool has_connector = false;
  bool trusts_hops = false;                                  // --trust-hop
  std::function<void(const std::string& line)> notice = {};  // for people; may be empty
};

// The hosts above it as -J names them, with those of -J itself before; nothing: they are not all hosts.
std::optional<std::string> jumps_to(const Target& target, const SshOptions& ssh);

class Relay {
 public:
  using Id = std::uint64_t;

  Relay(Loop& loop, RemoteRunner& remote, RelayParts parts);
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  ~Relay();

  // As RemoteRunner::start, at the context of target.hop. `left` of the time in all; 0: the usual deadlines.
  // `record` may be null: what is decided here of the way.
  // REQUIRES: the target is reached by ssh and lies beneath a hop; it and the record outlive the way.
  Id start(ContextId at, const Target& target, ImageKind kind, Nanos left, Runner::OnUp on_up,
           Runner::OnLost on_lost, WayRecord* record = nullptr);
  // On its way: ends it, and on_up hears kCancelled, unless it was quicker. Otherwise no effect.
  void cancel(Id id);
  // It waits for its turn at a crowded server.
  bool is_waiting(Id id) const;
  bool is_asking_for_settings(Id id) const;
  const SshOptions& ssh() const { return parts_.ssh; }

 private:
  struct Way {
    ContextId at = 0;
    const Target* target = nullptr;
    ImageKind kind = ImageKind::kAgent;
    Nanos began = 0;  // in Secrets::machine_time()
    Nanos left = 0;   // of the time in all, when it began
    Runner::OnUp on_up;
    std::shared_ptr<Runner::OnLost> on_lost;  // of each try
    WayRecord* record = nullptr;
    std::shared_ptr<const SshSettings> settings;
    std::string known_hosts, server;
    std::optional<Admission::Ticket> ticket;
    std::uint32_t attempts = 0;
    std::string guess;
    bool guessed_wrong = false, lost_before = false;
    Secrets::LoginId login = 0;
    std::shared_ptr<Connectors::Signatures> signer;
    RemoteRunner::StartId start = 0;  // 0: it waits
    bool cancelled = false;
  };
  void on_settings(Id id, const SshQuestions::Answer& answer);
  void on_defaults(const SshQuestions::Answer& answer);
  void prepare(Id id);  // when both are known
  void ask_admission(Id id, Admission::Place place);
  void try_now(Id id, bool may_guess);
  void on_up(Id id, Result<Child> child);
  bool try_again(Id id, const Error& error);
  void tell_excesses(const Way& way, std::string_view said = {});
  Error told(const Way& way, Error error) const;
  void conclude(Id id, const Result<Child>& child);
  std::string cache_key(const Target& target) const;

  Loop& loop_;
  RemoteRunner& remote_;
  const RelayParts parts_;
  Admission admission_;
  bool asked_defaults_ = false;
  std::optional<SshQuestions::Answer> defaults_;                // of ssh without any configuration
  std::map<Id, Way> ways_;                                      // not up yet
  std::map<std::string, std::set<std::string>> told_excesses_;  // of which hop, and what
  Id next_ = 1;
  Alive alive_;
};

}  // namespace banyan::cli
