#include "transports/secrets.h"

#include <algorithm>

#include "core/text.h"
#include "transports/secrets_words.h"

namespace banyan {
namespace {

// The host itself wants one secret that does not show: what a password looks like to who has to answer it.
// Behind the PIN of a card, or the passphrase of a key with too long a name, there is no host.
bool may_be_common(const Secrets::Want& want) {
  if (want.of.empty() || want.from_jump_host) return false;
  return want.kind == Secrets::Kind::kPassword ||
         (want.kind == Secrets::Kind::kOther && want.items.size() == 1 && !want.items.front().echo);
}

// A code is another one the next time.
bool is_to_remember(const Secrets::Want& want) {
  return want.kind == Secrets::Kind::kPassword && !want.of.empty();
}

// Adds the lines of a text, without what is empty at its ends.
void add_lines(std::string_view text, std::vector<std::string>& lines) {
  text = text.substr(0, kPromptTextMax);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.emplace_back(line);
  }
}

std::string_view host_of(std::string_view account) {
  return account.substr(account.find('@') + 1);
}

}  // namespace

Secrets::~Secrets() {
  *alive_ = false;
  loop_.cancel(trial_limit_);
  for (auto& [name, jump] : jumps_) loop_.cancel(jump.trial_limit);
}

Asker::Id Secrets::put(Question question, Asker::OnAnswer on_answer) {
  if (before_first_) std::exchange(before_first_, nullptr)();
  if (open_++ == 0) open_since_ = loop_.now();
  return asker_.ask(std::move(question),
                    [this, alive = alive_, on_answer = std::move(on_answer)](Asker::Answer answer) {
                      if (*alive) note_question_over();
                      on_answer(std::move(answer));
                    });
}

void Secrets::take_back(Asker::Id& asked) {
  if (asked == 0) return;
  asker_.cancel(std::exchange(asked, 0));
  note_question_over();
}

void Secrets::note_question_over() {
  if (--open_ == 0) asked_ += loop_.now() - open_since_;
  for (Function<void()>& then : std::exchange(after_answer_, {})) loop_.post(std::move(then));
}

Nanos Secrets::machine_time() const {
  return (open_ > 0 ? open_since_ : loop_.now()) - asked_;
}

void Secrets::after_answer(Function<void()> then) {
  if (open_ == 0) return loop_.post(std::move(then));
  after_answer_.push_back(std::move(then));
}

bool Secrets::hung_up(LoginId login, AskId id) {
  const auto found = asks_.find(id);
  if (found == asks_.end()) return false;
  const Ask& ask = found->second;
  const bool is_passphrase = ask.want.kind == Kind::kPassphrase;
  const bool is_seen = !is_passphrase && ask.asked != 0 && !asker_.is_waiting(ask.asked);
  if (is_passphrase) {
    std::erase(keys_[ask.want.of].waiting, id);
    asks_.erase(found);
  } else {
    cancel(id);
  }
  logins_.at(login).may_try_again = !is_seen;
  return !is_seen;
}

void Secrets::cut_off(LoginId login, bool at_login) {
  const auto found = logins_.find(login);
  if (found == logins_.end()) return;
  Login& host = found->second;
  if (at_login && !host.is_in && host.common_was_last) return common_was_refused(host);
  if (host.is_in || !std::exchange(host.has_waited, false)) return;
  host.may_try_again = true;
  host.good.merge(host.given);
}

bool Secrets::take_may_try_again(LoginId login) {
  const auto found = logins_.find(login);
  return found != logins_.end() && std::exchange(found->second.may_try_again, false);
}

void Secrets::ask_common(Function<void(const Asker::Answer&)> then) {
  Question question;
  question.items.push_back({"Password for all hosts: ", false});
  put(std::move(question), [this, alive = alive_, then = std::move(then)](Asker::Answer answer) {
    if (!*alive) return;
    has_common_ = answer.outcome == Asker::Outcome::kAnswered && !answer.secrets.empty();
    if (has_common_) common_ = std::move(answer.secrets.front());
    then(answer);
  });
}

// --- hosts ---

Secrets::LoginId Secrets::open(std::string name) {
  const LoginId id = next_login_++;
  logins_[id].name = std::move(name);
  return id;
}

void Secrets::close(LoginId login) {
  std::vector<AskId> open;
  for (const auto& [id, ask] : asks_)
    if (ask.login == login) open.push_back(id);
  for (AskId id : open) cancel(id);
  logins_.erase(login);
  if (trying_common_ == login) end_trial();
  for (auto& [name, jump] : jumps_)
    if (jump.trying == login) end_jump_trial(jump);
}

void Secrets::begin_try(LoginId login) {
  const auto found = logins_.find(login);
  if (found == logins_.end()) return;
  Login& host = found->second;
  host.common_for.reset();
  host.common_was_last = host.is_in = false;
  host.key_generations.clear();
  host.jump_generations.clear();
  host.last_jump.clear();
  host.has_waited = host.may_try_again = false;
  host.given.clear();
}

void Secrets::refused(LoginId login) {
  const auto found = logins_.find(login);
  if (found == logins_.end()) return;
  Login& host = found->second;
  if (host.is_in) return;
  host.has_waited = false;
  if (!host.last_jump.empty()) {
    const unsigned now = jumps_[host.last_jump].generation;
    const bool is_meant = std::ranges::any_of(host.jump_generations, [&](const auto& given) {
      return given.first.second == host.last_jump && given.second == now;
    });
    if (is_meant) jump_was_refused(host.last_jump);
    return;
  }
  if (host.common_for && host.last == *host.common_for) common_was_refused(host);
  host.given.erase(host.last);
}

void Secrets::accepted(LoginId login) {
  const auto found = logins_.find(login);
  if (found == logins_.end()) return;
  Login& host = found->second;
  if (std::exchange(host.is_in, true)) return;
  jumps_were_passed(login);
  host.good = std::exchange(host.given, {});
  // With something else after it, it may have been that which let us in.
  if (host.common_was_last) common_accepted_ = true;
  if (trying_common_ == login || host.common_was_last) end_trial();
}

// --- questions ---

Secrets::AskId Secrets::ask(LoginId login, Want want, OnSecrets on_secrets) {
  ASSERT(logins_.contains(login));
  const AskId id = next_ask_++;
  Ask& ask = asks_[id];
  ask.login = login;
  ask.want = std::move(want);
  ask.on_secrets = std::move(on_secrets);
  loop_.post([this, alive = alive_, id] {
    if (*alive && asks_.contains(id)) decide(id);
  });
  return id;
}

void Secrets::cancel(AskId id) {
  const auto found = asks_.find(id);
  if (found == asks_.end()) return;
  const Ask& ask = found->second;
  take_back(found->second.asked);
  if (ask.want.kind == Kind::kPassphrase) {
    Key& key = keys_[ask.want.of];
    std::erase(key.waiting, id);
    if (key.waiting.empty()) take_back(key.asked);
  }
  std::erase(wait_for_common_, id);
  for (auto& [name, jump] : jumps_) {
    if (std::erase(jump.waiting, id) > 0 && jump.waiting.empty()) take_back(jump.asked);
  }
  asks_.erase(found);
}

void Secrets::finish(AskId id, Result<std::vector<Secret>> secrets) {
  const auto found = asks_.find(id);
  if (found == asks_.end()) return;
  const OnSecrets on_secrets = std::move(found->second.on_secrets);
  if (const auto host = logins_.find(found->second.login); host != logins_.end())
    host->second.has_waited = found->second.is_behind && secrets;
  asks_.erase(found);
  on_secrets(std::move(secrets));
}

void Secrets::give(AskId id, const Secret& secret) {
  std::vector<Secret> one;
  one.push_back(secret.copy());
  finish(id, std::move(one));
}

void Secrets::decide(AskId id) {
  const Ask& ask = asks_.at(id);
  if (!ask.want.from_jump_host) jumps_were_passed(ask.login);
  if (ask.want.kind == Kind::kPassphrase) return decide_passphrase(id);
  if (const std::string jump = name_at_jump(ask.want); !jump.empty()) return decide_jump(id, jump);
  if (offer_common(id)) return;
  Login& host = logins_.at(ask.login);
  host.last_jump.clear();
  host.last = name_of(ask.want);
  host.common_was_last = false;
  if (auto good = host.good.extract(host.last); !good.empty() && is_to_remember(ask.want)) {
    const Secret secret = good.mapped().copy();
    host.given.insert(std::move(good));
    return give(id, secret);
  }
  ask_person(id);
}

void Secrets::decide_passphrase(AskId id) {
  const Ask& ask = asks_.at(id);
  const std::string& file = ask.want.of;
  Key& key = keys_[file];
  Login& host = logins_.at(ask.login);
  host.common_was_last = false;
  std::map<AskedKey, unsigned>& generations = host.key_generations;
  const AskedKey asked{ask.want.asker, file};
  // Who asks once more has tried what it was given; others may have seen that before it.
  const auto given = generations.find(asked);
  if (key.is_known && given != generations.end() && given->second == key.generation) {
    key.is_known = false;
    key.secret.wipe();
    key.is_given_up = key.generation >= kPassphraseTriesMax;
  }
  if (key.is_given_up)
    return finish(id, auth_error(cat("no passphrase was given that opens ", file), "ssh-add it"));
  if (key.is_known) {
    generations[asked] = key.generation;
    return give(id, key.secret);
  }
  asks_.at(id).is_behind = open_ > 0;
  key.waiting.push_back(id);
  if (key.asked == 0) ask_for_passphrase(file);
}

void Secrets::ask_for_passphrase(const std::string& file) {
  Key& key = keys_[file];
  Question question;
  if (key.generation > 0) question.lines.push_back(cat("That did not open ", file, "."));
  question.items.push_back({cat("Enter passphrase for key '", file, "': "), false});
  key.asked = put(std::move(question), [this, alive = alive_, file](Asker::Answer answer) {
    if (*alive) on_passphrase(file, std::move(answer));
  });
}

void Secrets::on_passphrase(const std::string& file, Asker::Answer answer) {
  Key& key = keys_[file];
  key.asked = 0;
  // An empty answer means, as for ssh, that this key is to be done without.
  key.is_known = answer.outcome == Asker::Outcome::kAnswered && !answer.secrets.empty() &&
                 !answer.secrets.front().empty();
  key.is_given_up = !key.is_known;
  if (key.is_known) {
    ++key.generation;
    key.secret = std::move(answer.secrets.front());
  }
  const std::vector<AskId> waiting = std::exchange(key.waiting, {});
  const Alive alive = alive_;
  for (AskId id : waiting) {
    if (!*alive) return;
    const auto found = asks_.find(id);
    if (found == asks_.end()) continue;
    if (!key.is_known) {
      finish(id, not_answered(answer, cat("the passphrase of ", file)));
      continue;
    }
    logins_.at(found->second.login).key_generations[{found->second.want.asker, file}] = key.generation;
    give(id, key.secret);
  }
}

// --- the password for all ---

bool Secrets::offer_common(AskId id) {
  const Ask& ask = asks_.at(id);
  if (!has_common_ || !may_be_common(ask.want)) return false;
  Login& host = logins_.at(ask.login);
  const std::string name = name_of(ask.want);
  if (host.common_for && *host.common_for == name) common_was_refused(host);
  if (!common_refused_by_.empty()) {
    const bool here = common_refused_by_ == host.name;
    finish(id, auth_error(here ? std::string("the password of -k was refused")
                               : cat("the password of -k was refused by ", common_refused_by_,
                                     ", so it is not tried here"),
                          "check the password and the user (-l)"));
    return true;
  }
  if (host.common_for) return false;  // it goes on after that one: a code, say
  if (!common_accepted_ && trying_common_ != 0 && trying_common_ != ask.login) {
    wait_for_common_.push_back(id);
    return true;
  }
  if (!common_accepted_) {
    trying_common_ = ask.login;
    loop_.cancel(trial_limit_);
    trial_limit_ = loop_.after(kTrialLimit, [this] { end_trial(); });
  }
  host.last_jump.clear();
  host.common_for = host.last = name;
  host.common_was_last = true;
  give(id, common_);
  return true;
}

// With a verdict or without one: the next may have it.
void Secrets::end_trial() {
  loop_.cancel(std::exchange(trial_limit_, 0));
  trying_common_ = 0;
  offer_again(wait_for_common_);
}

void Secrets::common_was_refused(const Login& by) {
  if (!common_refused_by_.empty()) return;
  common_refused_by_ = by.name;
  common_.wipe();
  end_trial();
}

void Secrets::offer_again(std::vector<AskId>& waiting) {
  for (AskId id : std::exchange(waiting, {}))
    loop_.post([this, alive = alive_, id] {
      if (*alive && asks_.contains(id)) decide(id);
    });
}

// --- the person ---

void Secrets::ask_person(AskId id) {
  Ask& ask = asks_.at(id);
  const Want& want = ask.want;
  const std::string& name = logins_.at(ask.login).name;
  const std::string prefix = name == want.of || name == host_of(want.of) ? "" : cat(name, ": ");
  Question question;
  if (want.kind == Kind::kPassword) {
    question.items.push_back({cat(prefix, want.of, "'s password: "), false});
  } else {
    question.who = cat(prefix, want.of.empty() ? "" : cat("(", want.of, ") "));
    for (const std::string& line : want.lines) add_lines(line, question.lines);
    for (const Question::Item& item : want.items) {
      std::vector<std::string> lines;
      add_lines(item.text, lines);
      if (lines.empty()) lines.emplace_back();
      question.items.push_back({lines.back(), item.echo});
      lines.pop_back();
      question.lines.insert(question.lines.end(), lines.begin(), lines.end());
    }
  }
  ask.is_behind = open_ > 0;
  ask.asked = put(std::move(question), [this, alive = alive_, id](Asker::Answer answer) {
    if (!*alive) return;
    const auto found = asks_.find(id);
    if (found == asks_.end()) return;
    found->second.asked = 0;
    const Want& asked = found->second.want;
    const std::size_t count = std::max<std::size_t>(1, asked.items.size());
    if (answer.outcome != Asker::Outcome::kAnswered || answer.secrets.size() != count)
      return finish(id, not_answered(answer, asked.kind == Kind::kPassword ? "a password" : "an answer"));
    if (is_to_remember(asked)) {
      Login& host = logins_.at(found->second.login);
      host.given[name_of(asked)] = answer.secrets.front().copy();
    }
    finish(id, std::move(answer.secrets));
  });
}

// --- what ssh asks ---

AskpassPrompt classify_askpass_prompt(std::string_view text, std::string_view hint) {
  using Kind = AskpassPrompt::Kind;
  if (hint == "none") return {Kind::kNotice, ""};
  if (hint == "confirm") return {Kind::kRefused, ""};
  // What a server asks comes with who is asked in front; the rest are ssh's own words. So a host cannot have
  // its question taken for one of those.
  if (text.starts_with('(')) {
    const std::size_t end = text.find(") ");
    const std::string_view of = text.substr(1, end == text.npos ? 0 : end - 1);
    return {Kind::kOther, std::string(of.find_first_of(" \n") == of.npos ? of : std::string_view())};
  }
  if (text.find("(yes/no") != text.npos) return {Kind::kRefused, ""};
  constexpr std::string_view kPassphrase = "Enter passphrase for key '", kPassphraseEnd = "': ";
  constexpr std::size_t kCutMax = 100;  // a longer name ssh cuts: then it is nobody's name
  if (text.starts_with(kPassphrase) && text.ends_with(kPassphraseEnd) &&
      text.size() > kPassphrase.size() + kPassphraseEnd.size()) {
    const std::string_view file =
        text.substr(kPassphrase.size(), text.size() - kPassphrase.size() - kPassphraseEnd.size());
    if (file.size() < kCutMax) return {Kind::kPassphrase, std::string(file)};
    return {Kind::kOther, ""};
  }
  constexpr std::string_view kPassword = "'s password: ";
  if (text.ends_with(kPassword) && text.find_first_of(" \n") == text.size() - kPassword.size() + 2)
    return {Kind::kPassword, std::string(text.substr(0, text.size() - kPassword.size()))};
  return {Kind::kOther, ""};
}

bool is_refusal_by_ssh(std::string_view line, std::string_view account, bool by_any_name) {
  constexpr std::string_view kDenied = ": Permission denied (", kDeniedEnd = ").";
  if (by_any_name) {  // but the same user
    const std::string_view user = account.substr(0, account.find('@') + 1);
    const std::size_t end = line.find(kDenied);
    if (!user.empty() && line.starts_with(user) && end != line.npos && line.find(' ') > end &&
        line.ends_with(kDeniedEnd))
      return true;
  }
  if (!account.empty() && line.starts_with(account) && line.substr(account.size()).starts_with(kDenied) &&
      line.ends_with(kDeniedEnd))
    return true;
  // The server counts refusals, and hangs up at this one instead of saying so.
  return line.starts_with("Received disconnect from ") &&
         line.ends_with(": Too many authentication failures");
}

}  // namespace banyan
