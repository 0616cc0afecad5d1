#include "transports/become.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "transports/secrets_words.h"

namespace banyan {
namespace {

constexpr std::string_view kCheck = "check the password, on that machine: sudo -k; sudo true";

Error become_error(std::string_view text, std::string_view remedy) {
  return Error{ErrorClass::kAuth, Phase::kBecome, text, remedy};
}

Error no_answer(const Asker::Answer& answer, std::string_view what) {
  Error error = not_answered(answer, what);
  error.phase = Phase::kBecome;
  error.remedy = answer.outcome == Asker::Outcome::kFailed
                     ? std::string(kAskerRemedy)
                     : std::string("answer, or have it allowed without a password");
  return error;
}

std::string_view own_words(std::string_view method) {
  return method == "sudo" ? kCheck : std::string_view("check the password, by hand, on that machine");
}

}  // namespace

// --- who is given what ---

BecomeSecrets::~BecomeSecrets() {
  *alive_ = false;
  for (auto& [key, scope] : scopes_) loop_.cancel(scope.trial_limit);
}

BecomeSecrets::Scope& BecomeSecrets::scope_of(const BecomeScope& scope) {
  const auto [at, is_new] = scopes_.try_emplace(scope.key);
  if (is_new) {
    in_order_.push_back(scope.key);
    at->second.prompt = cat("[", scope.method, "] password ",
                            scope.whose.empty() ? "" : cat("of ", scope.whose, " "), "for ");
  }
  return at->second;
}

void BecomeSecrets::expect(const BecomeScope& scope, std::string_view name) {
  Scope& expected = scope_of(scope);
  if (expected.expected++ == 0) expected.first = name;
}

bool BecomeSecrets::can_answer(const std::string& key) const {
  const auto found = scopes_.find(key);
  return secrets_.can_ask() || (found != scopes_.end() && (found->second.is_known || found->second.given_up));
}

Question BecomeSecrets::question_of(const Scope& scope) const {
  Question question;
  const std::size_t more = scope.expected > 1 ? scope.expected - 1 : 0;
  question.items.push_back(
      {cat(scope.prompt, scope.first, more == 0 ? std::string() : cat(" and ", more, " more"), ": "), false});
  return question;
}

void BecomeSecrets::take(Scope& scope, Asker::Answer answer) {
  scope.asked = 0;
  scope.is_known = answer.outcome == Asker::Outcome::kAnswered && !answer.secrets.empty();
  if (scope.is_known) {
    scope.secret = std::move(answer.secrets.front());
  } else {
    scope.given_up = no_answer(answer, "a password");
  }
}

void BecomeSecrets::ask_all(std::function<void(const Asker::Answer&)> then) {
  ask_next(0, std::move(then));
}

void BecomeSecrets::ask_next(std::size_t at, std::function<void(const Asker::Answer&)> then) {
  Scope& scope = scopes_.at(in_order_.at(at));
  scope.asked = secrets_.put(
      question_of(scope), [this, alive = alive_, &scope, at, then = std::move(then)](Asker::Answer answer) {
        if (!*alive) return;
        const bool is_last = at + 1 == in_order_.size();
        Asker::Answer told;
        told.outcome = answer.outcome;
        told.problem = answer.problem;
        take(scope, std::move(answer));
        if (!scope.is_known || is_last) return then(told);
        ask_next(at + 1, then);
      });
}

BecomeSecrets::StartId BecomeSecrets::open(const BecomeScope& scope, std::string name) {
  Scope& opened = scope_of(scope);
  if (opened.first.empty()) opened.first = name;
  const StartId id = next_++;
  starts_[id] = Start{scope.key, std::move(name), nullptr, false};
  return id;
}

void BecomeSecrets::close(StartId id) {
  const auto found = starts_.find(id);
  if (found == starts_.end()) return;
  Scope& scope = scopes_.at(found->second.key);
  starts_.erase(found);
  std::erase(scope.waiting, id);
  if (scope.waiting.empty() && scope.asked != 0) secrets_.take_back(scope.asked);
  if (scope.trying == id) end_trial(scope);
}

void BecomeSecrets::ask(StartId id, OnSecret on_secret) {
  starts_.at(id).on_secret = std::move(on_secret);
  loop_.post([this, alive = alive_, id] {
    if (*alive) decide(id);
  });
}

void BecomeSecrets::decide(StartId id) {
  const auto found = starts_.find(id);
  if (found == starts_.end() || !found->second.on_secret) return;
  Start& start = found->second;
  Scope& scope = scopes_.at(start.key);
  if (scope.given_up) return finish(id, *scope.given_up);
  if (scope.is_known && (scope.is_accepted || scope.trying == 0 || scope.trying == id)) {
    if (!scope.is_accepted) {
      scope.trying = id;
      loop_.cancel(scope.trial_limit);
      scope.trial_limit = loop_.after(kTrialLimit, [this, &scope] { end_trial(scope); });
    }
    start.was_given = true;
    return finish(id, scope.secret.copy());
  }
  if (std::ranges::find(scope.waiting, id) == scope.waiting.end()) scope.waiting.push_back(id);
  if (!scope.is_known && scope.asked == 0) ask_person(start.key);
}

void BecomeSecrets::finish(StartId id, Result<Secret> secret) {
  const OnSecret on_secret = std::exchange(starts_.at(id).on_secret, nullptr);
  on_secret(std::move(secret));
}

void BecomeSecrets::ask_person(const std::string& key) {
  Scope& scope = scopes_.at(key);
  scope.asked = secrets_.put(question_of(scope), [this, alive = alive_, &scope](Asker::Answer answer) {
    if (!*alive) return;
    take(scope, std::move(answer));
    offer_again(scope);
  });
}

// With a verdict or without one: the next may have it.
void BecomeSecrets::end_trial(Scope& scope) {
  loop_.cancel(std::exchange(scope.trial_limit, 0));
  scope.trying = 0;
  if (scope.asked == 0) offer_again(scope);
}

void BecomeSecrets::offer_again(Scope& scope) {
  for (const StartId id : std::exchange(scope.waiting, {}))
    loop_.post([this, alive = alive_, id] {
      if (*alive) decide(id);
    });
}

void BecomeSecrets::refused(StartId id) {
  const auto found = starts_.find(id);
  if (found == starts_.end() || !std::exchange(found->second.was_given, false)) return;
  Scope& scope = scopes_.at(found->second.key);
  // It was right elsewhere: one host has another, or is an enemy, and the others keep theirs.
  if (scope.is_accepted) return;
  if (!scope.given_up)
    scope.given_up =
        become_error(cat("the password was refused for ", found->second.name, ", so it is not tried here"),
                     "check the password");
  scope.is_known = scope.is_accepted = false;
  scope.secret.wipe();
  end_trial(scope);
}

void BecomeSecrets::accepted(StartId id) {
  const auto found = starts_.find(id);
  if (found == starts_.end() || !std::exchange(found->second.was_given, false)) return;
  Scope& scope = scopes_.at(found->second.key);
  if (scope.given_up) return;
  scope.is_accepted = true;
  end_trial(scope);
}

// --- one start ---

BecomeAnswerer::BecomeAnswerer(BecomeSecrets& secrets, const BecomeScope& scope, std::string name,
                               std::uint64_t token, std::uint64_t prompt, bool on_terminal)
    : secrets_(secrets),
      name_(std::move(name)),
      method_(scope.method),
      token_(token),
      prompt_(prompt),
      on_terminal_(on_terminal) {
  start_ = secrets_.open(scope, name_);
}

BecomeAnswerer::~BecomeAnswerer() {
  *alive_ = false;
  secrets_.close(start_);
  secrets_.others().take_back(asked_);
}

std::string BecomeAnswerer::token() const {
  return hex64(token_);
}

std::string BecomeAnswerer::prompt() const {
  return cat("banyan-", hex64(prompt_));
}

// Only who was sent by this very start knows the token. What is asked after the end of questions, or while
// another one is open, is nobody's.
void BecomeAnswerer::ask(std::uint32_t, Bytes question, OnAnswer on_answer) {
  const std::string_view all = as_text(question);
  const std::size_t end = all.find('\0');
  const bool has_token = end != all.npos && all.substr(0, end) == token();
  if (!(on_terminal_ || has_token) || error_ || asked_ != 0) return on_answer({});
  const std::string_view text = all.substr(std::min(end, all.size() - 1) + 1);
  if (!on_terminal_ && text.find(prompt()) == text.npos) return ask_person(text, std::move(on_answer));
  if (!std::exchange(has_asked_, true)) return ask_for_password(std::move(on_answer));
  if (was_given_) refuse();
  on_answer({});
}

void BecomeAnswerer::ask_for_password(OnAnswer on_answer) {
  secrets_.ask(start_, [this, alive = alive_, on_answer = std::move(on_answer)](Result<Secret> secret) {
    if (!*alive) return;
    if (!secret) {
      error_ = secret.error();
      return on_answer({});
    }
    was_given_ = true;
    on_answer(secret->bytes());
  });
}

// A code, say, that a module of PAM wants: those are good once, so each is asked for.
void BecomeAnswerer::ask_person(std::string_view text, OnAnswer on_answer) {
  Question question;
  question.who = cat("(", name_, ") ");
  text = text.substr(0, kPromptTextMax);
  while (text.ends_with('\n')) text.remove_suffix(1);
  for (std::size_t line; (line = text.find('\n')) != text.npos; text.remove_prefix(line + 1))
    question.lines.emplace_back(text.substr(0, line));
  question.items.push_back({std::string(text), false});
  asked_ = secrets_.others().put(
      std::move(question),
      [this, alive = alive_, on_answer = std::move(on_answer)](const Asker::Answer& answer) {
        if (!*alive) return;
        asked_ = 0;
        const bool has_answer = answer.outcome == Asker::Outcome::kAnswered && !answer.secrets.empty();
        if (!has_answer) error_ = no_answer(answer, "an answer");
        on_answer(has_answer ? answer.secrets.front().bytes() : Bytes());
      });
}

void BecomeAnswerer::refuse() {
  error_ = become_error("the password was refused", own_words(method_));
  secrets_.refused(start_);
}

Error BecomeAnswerer::ended(Error error) {
  // It had been let in, and was not the machine it was taken for.
  if (error.wrong_guess) came_through();
  if (error.error_class == ErrorClass::kCancelled || error.wrong_guess) return error;
  // That an account may not do this is no word on the password.
  const bool is_of_account =
      error.text.find("xpired") != std::string::npos || error.text.find("ccount") != std::string::npos;
  if (!error_ && was_given_ && error.error_class == ErrorClass::kAuth && !is_of_account) refuse();
  return error_ ? *error_ : error;
}

void BecomeAnswerer::came_through() {
  secrets_.accepted(start_);
}

}  // namespace banyan
