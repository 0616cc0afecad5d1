// cli/reach.h -- the way from a target to a context: its recipe, and the guess at its architecture.
//
// A known host is sent loader and image without waiting. Where the guess was wrong nothing has happened there
// yet: it is forgotten, and the host is asked, within the time that is left.
//
// Servers are not crowded (transports/admission.h), and what a server refuses only because it has too many is
// tried again, as long as nothing has begun there.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cli/becoming.h"
#include "cli/route.h"
#include "cli/targets.h"
#include "cli/way_record.h"
#include "parent/runner.h"
#include "transports/admission.h"
#include "transports/arch_cache.h"
#include "transports/askpass.h"
#include "transports/libssh2.h"
#include "transports/openssh.h"
#include "transports/ssh_answers.h"
#include "transports/ssh_facts.h"
#include "transports/ssh_question.h"

namespace banyan::cli {

class Reach {
 public:
  using Id = std::uint64_t;

  // `sessions_max`: so many targets are reached at a time. `on_idle`: more may be idle than before.
  Reach(Loop& loop, Runner& runner, Connectors& connectors, Secrets& secrets, Askpass& askpass,
        Becoming& becoming, ArchCache& cache, const SshOptions& ssh, BackEndWish wish,
        std::size_t sessions_max, Loop::Task on_idle);
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;
  ~Reach();

  // As Runner::start. `jumps`: hosts to go through, as of -J and in place of it; empty: as that says.
  // `record` may be null; else it outlives the way, and ssh is asked for its settings and told to say what it
  // does. Told of each key that was believed and written down on a way that then failed, by the target's
  // name, in ssh's words; of the others Child::said has it.
  void on_accepted(std::function<void(const std::string& name, const std::string& line)> tell) {
    on_accepted_ = std::move(tell);
  }

  Id start(const Target& target, ImageKind kind, Runner::OnUp on_up, Runner::OnLost on_lost,
           WayRecord* record = nullptr, const std::string& jumps = {});
  // On its way: ends it, and on_up hears kCancelled. Otherwise no effect.
  void cancel(Id id);
  Phase phase_of(Id id) const;
  // It waits for its turn at a crowded server.
  bool is_waiting(Id id) const;
  // What ssh goes through on its way there: the hosts of -J or ProxyJump, and those that these are reached
  // through. Also when it is up, or has failed.
  const std::vector<std::string>& jumps_of(Id id) const;
  // It is on its way and costs nothing at the moment: it waits to be admitted, or for a host that is silent.
  bool is_idle(Id id) const;
  // Keeps what was learned of hosts for the next run.
  void save();

  // For those who reach others beneath (cli/relay.h).
  SshQuestions& questions() { return questions_; }
  SshFacts& facts() { return facts_; }

 private:
  struct Way {
    Target target;
    SshOptions ssh;
    ImageKind kind;
    Runner::OnUp on_up;
    std::shared_ptr<Runner::OnLost> on_lost;  // of the first try and the second
    Secrets::LoginId login = 0;
    Runner::StartId start = 0;               // 0: ssh is still asked for its settings, or we wait
    std::optional<SessionSettings> session;  // libssh2 speaks; else ssh does, or nobody
    std::string hop;                         // what is connected to first
    std::optional<Admission::Ticket> ticket;
    std::uint32_t attempts = 0, attempts_wanted = 1;  // as ConnectionAttempts says
    std::string guess;
    std::string not_entered;    // why a container's namespaces are not; empty: nobody has tried yet
    Nanos began = 0;            // when it was admitted for the first time
    Loop::TimerId timer = 0;    // to notice silence; to try again
    Nanos waits_since = 0;      // for a person to answer another host, to be connected anew; 0: it does not
    std::uint32_t hung_up = 0;  // how often its server did that while a person answered others
    bool knows_session_type = false;
    Nanos tcp_timeout = 0;   // as ConnectTimeout says
    bool has_jumps = false;  // of ProxyJump
    bool is_behind_jump = false, is_silent = false, lost_before = false, cancelled = false;
    bool on_terminal = false;  // of a sudo: it did not do without
    WayRecord* record = nullptr;
    std::shared_ptr<BecomeAnswerer> answerer;  // of the start; may be null
    std::shared_ptr<StartJournal> journal;
    std::shared_ptr<const SshSettings> settings;  // null: ssh did not tell
  };
  void on_settings(Id id, const SshQuestions::Answer& answer);
  void on_route(Id id, const Result<Route>& route);
  bool can_use_libssh2() const;
  void note_jumps(Id id, const SshSettings& settings);
  void note_jumps(Id id, const Route& route);
  void ask_admission(Id id, Admission::Place place);
  std::string guess_of(const Way& way) const;
  void try_now(Id id, bool may_guess);
  void watch_silence(Way& way);
  bool is_idle(const Way& way) const;
  void say_idle();
  void on_up(Id id, Result<Child> child);
  bool try_again(Id id, const Error& error);  // false: it shall not be
  void try_after_answer(Id id);
  static Admission::Outcome outcome_of(const Result<Child>& child);
  void conclude(Id id, const Result<Child>& child);
  Error told(const Way& way, Error error);
  void tell_accepted(const Way& way) const;
  std::string locked_key(const Way& way);
  std::string cache_key(const Way& way) const;

  Loop& loop_;
  Runner& runner_;
  Connectors& connectors_;
  Secrets& secrets_;
  Askpass& askpass_;
  Becoming& becoming_;
  ArchCache& cache_;
  const SshOptions& ssh_;
  const BackEndWish wish_;
  const std::size_t sessions_max_;
  Loop::Task on_idle_;
  std::function<void(const std::string&, const std::string&)> on_accepted_;
  Admission admission_;
  SshAnswers answers_;
  SshQuestions questions_;
  SshFacts facts_;
  std::map<Id, Way> ways_;                        // not up yet
  std::map<Id, std::vector<std::string>> jumps_;  // of those that have any
  Id next_ = 1;
  Alive alive_;
};

}  // namespace banyan::cli
