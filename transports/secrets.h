// transports/secrets.h -- which secrets are asked for, and who is given them.
//
//   passphrase of a key file   asked once a run, given to every host that uses the key; three tries in all
//   password                   asked by each host for itself, and given again when it is connected anew; with
//                              ask_common() one for all, which nobody is given any more once a host has
//                              refused it
//   password of a jump host    asked once a run, given to every host behind it; three tries in all
//   any other question         asked by each host for itself, each time: a code is good once
//
// Of a password for several, for all or for a jump host: until a host has taken it only one has it at a time,
// since a wrong one, tried by a hundred hosts at once, locks an account; a host that keeps it without a word
// holds up the others for a moment only. A host is never given twice what it has refused.
//
// Pure but for the Asker, who has the person. Thread: the loop's. Lifetime: outlives those who ask.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/alive.h"
#include "core/loop.h"
#include "core/result.h"
#include "transports/secret.h"

namespace banyan {

// What is put before a person. Texts may come from a hostile host: whoever shows them escapes them, and puts
// `who` in front of each row that they take.
struct Question {
  struct Item {
    std::string text;
    bool echo = false;
  };
  std::string who = {};                 // "(ann@web1) "; empty: the texts are ours
  std::vector<std::string> lines = {};  // before the items; each a line
  std::vector<Item> items = {};         // answered one after the other
};

// Asks a person, one question at a time, first come first served.
class Asker {
 public:
  enum class Outcome : std::uint8_t {
    kAnswered,
    kDeclined,  // the person said no: end of input, or the program that asks said so
    kTimeout,   // nobody answered
    kNobody,    // there is nobody to ask
    kFailed,    // what was to ask cannot: see `problem`
  };
  struct Answer {
    Outcome outcome = Outcome::kNobody;
    std::vector<Secret> secrets;  // of kAnswered: one for each item
    std::string problem = {};     // of kFailed: a clause
  };
  using OnAnswer = Function<void(Answer)>;
  using Id = std::uint64_t;

  virtual ~Asker() = default;
  virtual bool can_ask() const = 0;
  // `on_answer` comes once, from the loop and never from within this call, unless it was cancelled.
  virtual Id ask(Question question, OnAnswer on_answer) = 0;
  virtual void cancel(Id id) = 0;
  // The person has not seen it yet.
  virtual bool is_waiting(Id id) const = 0;
};

class Secrets {
 public:
  using LoginId = std::uint64_t;  // one host, through all tries to reach it; 0: none
  using AskId = std::uint64_t;

  enum class Kind : std::uint8_t { kPassphrase, kPassword, kOther };
  struct Want {
    Kind kind = Kind::kOther;
    // kPassphrase: the file. Else the one who asks, as "ann@web1"; empty: no host, but a security key, say.
    std::string of = {};
    bool from_jump_host = false;  // and not from the host itself: then the password for all is not meant
    // Of one on the way, how it is reached (transports/jump.h): its password is that of all who reach it so.
    // Empty: nobody knows, and each asks for himself.
    std::string jump = {};
    // Who of those that log in for one host: an ssh of its own for each jump. Each has what it was given.
    std::uint64_t asker = 0;
    std::vector<std::string> lines = {};     // kOther: the server's name and instruction
    std::vector<Question::Item> items = {};  // kPassword, kPassphrase: empty
  };
  // With an Error nothing is to be sent, and the host is to be given up, unless it was a passphrase.
  using OnSecrets = Function<void(Result<std::vector<Secret>>)>;

  Secrets(Loop& loop, Asker& asker) : loop_(loop), asker_(asker) {}
  Secrets(const Secrets&) = delete;
  Secrets& operator=(const Secrets&) = delete;
  ~Secrets();

  bool can_ask() const { return asker_.can_ask(); }
  // Asks for one password for all; told whether there is one.
  void ask_common(Function<void(const Asker::Answer&)> then);
  bool has_common() const { return has_common_; }
  // Called before the first secret is held.
  void on_first_secret(std::function<void()> before) { before_first_ = std::move(before); }

  // `name`: as the person typed it.
  LoginId open(std::string name);
  void close(LoginId login);
  // It is connected anew: what it was given before it may be given again, if it was not refused.
  void begin_try(LoginId login);
  // The host refused what it was given last (said after it let us in, it means nothing); it let us in.
  void refused(LoginId login);
  void accepted(LoginId login);

  // A server waits for an answer only so long, and a person answers one question after the other.
  // The server hung up on `id`: cancels it. True: it was not a person's answer to this very host that was
  // late, so that it may be connected anew, after_answer(). A passphrase stays asked for.
  bool hung_up(LoginId login, AskId id);
  // The connection of one that waits in silence for its answer has ended, without a word on what it was
  // given at last: if it had waited for the answers to others, that may be given again. `at_login`: it had
  // not been let in, for sure; then the password for all counts as refused, which some servers do so.
  void cut_off(LoginId login, bool at_login = false);
  // Told once.
  bool take_may_try_again(LoginId login);
  // Called once, from the loop: when a question has been answered, or there is none.
  void after_answer(Function<void()> then);

  // A question to the person by somebody who keeps the answer himself, and its end (0: none is open). Here,
  // since other questions wait for it.
  Asker::Id put(Question question, Asker::OnAnswer on_answer);
  void take_back(Asker::Id& asked);

  // Time as machines have it: it stands still while a question is before the person, or waits for its turn.
  Nanos machine_time() const;

  // `on_secrets` once, never from within this call, unless cancelled. `login` is open.
  AskId ask(LoginId login, Want want, OnSecrets on_secrets);
  void cancel(AskId id);

 private:
  using Answers = std::map<std::string, Secret>;           // by question
  using AskedKey = std::pair<std::uint64_t, std::string>;  // who asks, and for which file
  struct Login {
    std::string name;
    std::optional<std::string> common_for;  // the question it was given the password for all for
    bool common_was_last = false;           // and nothing after it
    bool is_in = false;                     // in this try
    bool has_waited = false;     // what it was given last came after the answers to others, and no verdict
    bool may_try_again = false;  // it lost its connection for that
    std::map<AskedKey, unsigned> key_generations;   // of passphrases that were given
    Answers given;                                  // passwords, in this try
    Answers good;                                   // those with which it let us in before
    std::string last;                               // the question answered last
    std::map<AskedKey, unsigned> jump_generations;  // of passwords of jump hosts that were given in this try
    std::string last_jump;                          // whose question was the last; empty: none's
  };
  struct Ask {
    LoginId login = 0;
    Want want;
    OnSecrets on_secrets;
    Asker::Id asked = 0;     // of this alone; a passphrase is asked for by its Key
    bool is_behind = false;  // another question was open before it
  };
  struct Key {
    unsigned generation = 0;  // of the secret
    bool is_known = false, is_given_up = false;
    Secret secret;
    Asker::Id asked = 0;
    std::vector<AskId> waiting;
  };

  // The password of a host on the way.
  struct Jump {
    unsigned generation = 0;  // of the secret
    bool is_known = false, is_accepted = false;
    std::optional<Error> given_up;
    Secret secret;
    std::string prompt;
    Asker::Id asked = 0;
    LoginId trying = 0;  // the one that has it before anybody was let in by it
    Loop::TimerId trial_limit = 0;
    std::vector<AskId> waiting;
  };

  void decide(AskId id);
  void decide_passphrase(AskId id);
  void ask_for_passphrase(const std::string& file);
  void on_passphrase(const std::string& file, Asker::Answer answer);
  bool offer_common(AskId id);  // false: not for this one
  void end_trial();
  void common_was_refused(const Login& by);
  void decide_jump(AskId id, const std::string& name);
  void ask_for_jump(const std::string& name);
  void on_jump_answer(const std::string& name, Asker::Answer answer);
  void jumps_were_passed(LoginId login);
  void jump_was_refused(const std::string& name);
  void end_jump_trial(Jump& jump);
  void offer_again(std::vector<AskId>& waiting);
  void ask_person(AskId id);
  void give(AskId id, const Secret& secret);
  void finish(AskId id, Result<std::vector<Secret>> secrets);
  void note_question_over();

  Loop& loop_;
  Asker& asker_;
  std::function<void()> before_first_;
  std::map<LoginId, Login> logins_;
  std::map<AskId, Ask> asks_;
  std::size_t open_ = 0;  // questions before the person
  Nanos open_since_ = 0;  // when there were none before
  Nanos asked_ = 0;       // in all, up to then
  std::vector<Function<void()>> after_answer_;
  std::map<std::string, Key> keys_;
  std::map<std::string, Jump> jumps_;  // by how it is reached, and its question
  Secret common_;
  bool has_common_ = false, common_accepted_ = false;
  std::string common_refused_by_;
  LoginId trying_common_ = 0;           // the one that has it before anybody has accepted it
  Loop::TimerId trial_limit_ = 0;       // of that one
  std::vector<AskId> wait_for_common_;  // in order
  LoginId next_login_ = 1;
  AskId next_ask_ = 1;
  Alive alive_;
};

// What ssh asks through its askpass program, by its words.
struct AskpassPrompt {
  enum class Kind : std::uint8_t { kPassphrase, kPassword, kOther, kNotice, kRefused };
  Kind kind = Kind::kOther;
  std::string of;  // the key file, or user@host; empty: it does not say
};
// `hint`: SSH_ASKPASS_PROMPT.
AskpassPrompt classify_askpass_prompt(std::string_view text, std::string_view hint);

// A line of ssh's standard error, without its end: it was refused what it was given as `account`, and that
// ends it. What an account's own commands are denied comes by the same way, and is not meant; nor is that ssh
// asks once more, which the question itself says. `by_any_name`: a jump host may have another name there than
// in its question (HostKeyAlias); as long as it has not let us in, no account's commands have a say.
bool is_refusal_by_ssh(std::string_view line, std::string_view account, bool by_any_name = false);

}  // namespace banyan
