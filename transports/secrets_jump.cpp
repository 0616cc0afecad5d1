// The part of Secrets that is about passwords of hosts on the way.
#include <algorithm>

#include "transports/secrets_words.h"

namespace banyan {
namespace {

// Of one jump host in all, as of a key's passphrase: then nobody knows it, and its account would be locked.
constexpr unsigned kJumpTriesMax = 3;

// PAM asks for a password in the server's words, which are "Password: " wherever nobody has changed them.
bool is_for_password(std::string_view prompt) {
  constexpr std::string_view kPassword = "password";
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? char(a - 'A' + 'a') : a) == b; };
  return prompt.size() >= kPassword.size() &&
         std::ranges::equal(prompt.substr(0, kPassword.size()), kPassword, same) &&
         (prompt.substr(kPassword.size()).starts_with(':') ||
          prompt.substr(kPassword.size()).starts_with(" for "));
}

}  // namespace

std::string name_at_jump(const Secrets::Want& want) {
  if (!want.from_jump_host || want.jump.empty() || want.of.empty()) return {};
  const bool is_password = want.kind == Secrets::Kind::kPassword ||
                           (want.kind == Secrets::Kind::kOther && want.items.size() == 1 &&
                            !want.items.front().echo && is_for_password(want.items.front().text));
  return is_password ? cat(want.jump, "\n", name_of(want)) : std::string();
}

void Secrets::decide_jump(AskId id, const std::string& name) {
  const Ask& ask = asks_.at(id);
  Jump& jump = jumps_[name];
  Login& host = logins_.at(ask.login);
  host.common_was_last = false;
  host.last = name_of(ask.want);
  host.last_jump = name;
  jump.prompt = cat(ask.want.of, "'s password: ");
  const AskedKey asked{ask.want.asker, name};
  // Who asks once more was refused what it was given; others may have been before it.
  const auto given = host.jump_generations.find(asked);
  const bool asks_again = given != host.jump_generations.end();
  if (asks_again && jump.is_known && given->second == jump.generation) jump_was_refused(name);
  if (jump.given_up) return finish(id, *jump.given_up);
  const bool is_free = jump.is_accepted || jump.trying == 0 || jump.trying == ask.login;
  if (jump.is_known && is_free) {
    host.jump_generations[asked] = jump.generation;
    if (!jump.is_accepted) {
      jump.trying = ask.login;
      loop_.cancel(jump.trial_limit);
      jump.trial_limit = loop_.after(kTrialLimit, [this, &jump] { end_jump_trial(jump); });
    }
    return give(id, jump.secret);
  }
  asks_.at(id).is_behind = asks_.at(id).is_behind || open_ > 0 || jump.is_known;
  jump.waiting.insert(asks_again ? jump.waiting.begin() : jump.waiting.end(), id);
  if (!jump.is_known && jump.asked == 0) ask_for_jump(name);
}

void Secrets::ask_for_jump(const std::string& name) {
  Jump& jump = jumps_[name];
  Question question;
  if (jump.generation > 0) question.lines.emplace_back("That was refused.");
  question.items.push_back({jump.prompt, false});
  jump.asked = put(std::move(question), [this, alive = alive_, name](Asker::Answer answer) {
    if (*alive) on_jump_answer(name, std::move(answer));
  });
}

void Secrets::on_jump_answer(const std::string& name, Asker::Answer answer) {
  Jump& jump = jumps_[name];
  jump.asked = 0;
  jump.is_known = answer.outcome == Asker::Outcome::kAnswered && !answer.secrets.empty();
  if (jump.is_known) {
    ++jump.generation;
    jump.secret = std::move(answer.secrets.front());
  } else {
    jump.given_up = not_answered(answer, "a jump host's password");
  }
  offer_again(jump.waiting);
}

// It asks, and no host on its way does any more: those have let it in.
void Secrets::jumps_were_passed(LoginId login) {
  for (const auto& [asked, generation] : std::exchange(logins_.at(login).jump_generations, {})) {
    Jump& jump = jumps_[asked.second];
    if (!jump.is_known || generation != jump.generation) continue;
    jump.is_accepted = true;
    end_jump_trial(jump);
  }
}

void Secrets::jump_was_refused(const std::string& name) {
  Jump& jump = jumps_[name];
  jump.is_known = jump.is_accepted = false;
  jump.secret.wipe();
  if (jump.generation >= kJumpTriesMax)
    jump.given_up = auth_error(
        cat("a jump host refused the password ", kJumpTriesMax, " times, so it is not asked for again"),
        "check the password and the user of the jump host");
  end_jump_trial(jump);
}

// With a verdict or without one: the next may have it, or asks.
void Secrets::end_jump_trial(Jump& jump) {
  loop_.cancel(std::exchange(jump.trial_limit, 0));
  jump.trying = 0;
  if (jump.asked == 0) offer_again(jump.waiting);
}

}  // namespace banyan
