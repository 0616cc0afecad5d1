// transports/become.h -- passwords for becoming another user: which are asked for, who is given them, and how
// a transport is told to ask (docs/design/007-becoming.md).
//
//   a scope       those who are asked the same: one method, one user to become, one who asks. One password is
//                 asked for it, and given to all in it.
//   a start       of one of them: is given it once. What asks a second time was given a wrong one: it gets no
//                 answer, and that password is given to nobody any more.
//
// Until a start has come through with it only one has it at a time, since a wrong one, tried on a hundred
// hosts at once, locks an account; a start that keeps it without a word holds up the others for a moment
// only.
//
// Thread: the loop's. Lifetime: BecomeSecrets outlives the starts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/alive.h"
#include "core/loop.h"
#include "parent/back_channel.h"
#include "transports/secrets.h"

namespace banyan {

struct BecomeScope {
  std::string key;     // two with the same are asked the same
  std::string method;  // "sudo"
  std::string whose;   // password: "ann"; empty: that of whoever is there
};

class BecomeSecrets {
 public:
  using StartId = std::uint64_t;
  using OnSecret = Function<void(Result<Secret>)>;

  BecomeSecrets(Loop& loop, Secrets& secrets) : loop_(loop), secrets_(secrets) {}
  BecomeSecrets(const BecomeSecrets&) = delete;
  BecomeSecrets& operator=(const BecomeSecrets&) = delete;
  ~BecomeSecrets();

  // Before anything starts: so many will be asked, and whom the person thinks of.
  void expect(const BecomeScope& scope, std::string_view name);
  // Asks for the password of each that is expected; told of the last answer, or of the first that was none.
  void ask_all(std::function<void(const Asker::Answer&)> then);
  // Somebody can be asked, or has been.
  bool can_answer(const std::string& key) const;

  // `name`: as the person typed it.
  StartId open(const BecomeScope& scope, std::string name);
  void close(StartId start);
  // `on_secret` once, never from within this call, unless it is closed before. One at a time for each start.
  void ask(StartId start, OnSecret on_secret);
  // What it was given was wrong; it came through.
  void refused(StartId start);
  void accepted(StartId start);

  // Questions that are not for the password of a scope, a code say, go straight to the person.
  Secrets& others() { return secrets_; }

 private:
  struct Start {
    std::string key, name;
    OnSecret on_secret;  // it waits
    bool was_given = false;
  };
  struct Scope {
    std::string prompt;  // "[sudo] password of ann for "
    std::string first;   // of those expected
    std::size_t expected = 0;
    bool is_known = false, is_accepted = false;
    std::optional<Error> given_up;
    Secret secret;
    Asker::Id asked = 0;
    StartId trying = 0;  // the one that has it before anybody came through with it
    Loop::TimerId trial_limit = 0;
    std::vector<StartId> waiting;  // in order
  };
  Scope& scope_of(const BecomeScope& scope);
  void decide(StartId id);
  void finish(StartId id, Result<Secret> secret);
  void ask_person(const std::string& key);
  Question question_of(const Scope& scope) const;
  void take(Scope& scope, Asker::Answer answer);
  void ask_next(std::size_t at, std::function<void(const Asker::Answer&)> then);
  void end_trial(Scope& scope);
  void offer_again(Scope& scope);

  Loop& loop_;
  Secrets& secrets_;
  std::map<std::string, Scope> scopes_;
  std::vector<std::string> in_order_;  // their keys
  std::map<StartId, Start> starts_;
  StartId next_ = 1;
  Alive alive_;
};

// Answers what the processes of one start ask.
class BecomeAnswerer final : public Answerer {
 public:
  // `on_terminal`: who asks does so on a terminal of its own, for a password and nothing else.
  BecomeAnswerer(BecomeSecrets& secrets, const BecomeScope& scope, std::string name, std::uint64_t token,
                 std::uint64_t prompt, bool on_terminal);
  BecomeAnswerer(const BecomeAnswerer&) = delete;
  BecomeAnswerer& operator=(const BecomeAnswerer&) = delete;
  ~BecomeAnswerer() override;

  // What whoever asks has to show, and the prompt that means the password.
  std::string token() const;
  std::string prompt() const;

  void ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) override;
  // The start has come to its end, so. What is to be told of that, which may be what became of a question.
  Error ended(Error error);
  void came_through();

 private:
  void ask_for_password(OnAnswer on_answer);
  void ask_person(std::string_view text, OnAnswer on_answer);
  void refuse();

  BecomeSecrets& secrets_;
  const std::string name_, method_;
  const std::uint64_t token_, prompt_;
  const bool on_terminal_;
  BecomeSecrets::StartId start_ = 0;
  Asker::Id asked_ = 0;  // beside the password
  bool has_asked_ = false, was_given_ = false;
  std::optional<Error> error_;
  Alive alive_;
};

}  // namespace banyan
