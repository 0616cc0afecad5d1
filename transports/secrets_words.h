// transports/secrets_words.h -- what the parts of Secrets have in common; nobody else includes this.
#pragma once

#include "core/text.h"
#include "transports/remedies.h"
#include "transports/secrets.h"

namespace banyan {

// With a password for several and no verdict. PAM takes two or three seconds to refuse one; who takes this
// long has hung, and would keep all others waiting for as long as its phase may last.
constexpr Nanos kTrialLimit = 10 * kSecond;

inline Error auth_error(std::string_view text, std::string_view remedy = {}) {
  return Error{ErrorClass::kAuth, Phase::kAuth, text, remedy};
}

inline Error not_answered(const Asker::Answer& answer, std::string_view what) {
  switch (answer.outcome) {
    case Asker::Outcome::kTimeout:
      return auth_error(cat(what, " was asked for, and nobody answered"), "answer, or use a key");
    case Asker::Outcome::kNobody:
      return auth_error(cat(what, " is wanted, and there is nobody to ask"), kNobodyRemedy);
    case Asker::Outcome::kFailed:
      return auth_error(cat(what, " is wanted, and ", answer.problem), kAskerRemedy);
    default:
      return auth_error(cat(what, " was asked for, and not given"), "answer, or use a key");
  }
}

// The name of an answer: what was asked, so that it is given again only to the same question.
inline std::string name_of(const Secrets::Want& want) {
  return cat(want.of, want.items.empty() ? "'s password" : want.items.front().text);
}

// The same of a host on the way, for all who reach it alike; empty: it is none, or it wants something that is
// good once, as a code is.
std::string name_at_jump(const Secrets::Want& want);

}  // namespace banyan
