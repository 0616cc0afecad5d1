// cli/reach.h -- the way from a target to a context: its recipe, and the guess at its architecture.
//
// A known host is sent loader and image without waiting. Where the guess was wrong nothing has happened there
// yet: it is forgotten, and the host is asked, within the time that is left.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cli/targets.h"
#include "parent/runner.h"
#include "transports/arch_cache.h"
#include "transports/libssh2.h"
#include "transports/openssh.h"
#include "transports/ssh_answers.h"
#include "transports/ssh_facts.h"
#include "transports/ssh_question.h"

namespace banyan::cli {

class Reach {
 public:
  using Id = std::uint64_t;

  Reach(Loop& loop, Runner& runner, Connectors& connectors, ArchCache& cache, const SshOptions& ssh,
        BackEndWish wish);

  // As Runner::start.
  Id start(const Target& target, Runner::OnUp on_up, Runner::OnLost on_lost);
  // On its way: ends it, and on_up hears kCancelled. Otherwise no effect.
  void cancel(Id id);
  Phase phase_of(Id id) const;
  // Keeps what was learned of hosts for the next run.
  void save();

 private:
  struct Way {
    Target target;
    Runner::OnUp on_up;
    std::shared_ptr<Runner::OnLost> on_lost;  // of the first try and the second
    Runner::StartId start = 0;                // 0: ssh is still asked for its settings
    std::optional<SessionSettings> session;   // libssh2 speaks; else ssh does, or nobody
    std::string guess;
    Nanos began = 0;
    bool cancelled = false;
  };
  void on_settings(Id id, const SshQuestions::Answer& answer);
  void try_now(Id id, bool may_guess);
  void on_up(Id id, Result<Child> child);
  std::string cache_key(const Target& target) const;

  Loop& loop_;
  Runner& runner_;
  Connectors& connectors_;
  ArchCache& cache_;
  const SshOptions& ssh_;
  const BackEndWish wish_;
  SshAnswers answers_;
  SshQuestions questions_;
  SshFacts facts_;
  std::map<Id, Way> ways_;  // not up yet
  Id next_ = 1;
};

}  // namespace banyan::cli
