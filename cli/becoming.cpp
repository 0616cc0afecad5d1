#include "cli/becoming.h"

#include <set>
#include <utility>

#include "core/text.h"
#include "transports/ssh_settings.h"
#include "transports/su.h"

namespace banyan::cli {
namespace {

// Who runs what stands in this place of a path.
std::string user_at(const Target* at, const std::string& ssh_user) {
  while (at != nullptr && at->method == Method::kLocal) at = at->hop.get();
  if (at == nullptr) return local_user().name;
  if (at->method == Method::kSsh) return at->user.empty() ? ssh_user : at->user;
  return at->user;
}

}  // namespace

BecomeScope become_scope(const Target& target, const std::string& ssh_user) {
  BecomeScope scope;
  scope.method = method_name(target.method);
  scope.whose = target.method == Method::kSu ? target.user : user_at(target.hop.get(), ssh_user);
  // The same name is somebody else on another machine, and in a container, which is not to have our password.
  std::string place = " here ";
  for (const Target* at = target.hop.get(); at != nullptr; at = at->hop.get()) {
    if (at->method == Method::kSsh) place = " there ";
    if (at->method != Method::kContainer) continue;
    place = cat(" inside ", at->name, " ");  // and not that of another container
    break;
  }
  if (first_of(target).method == Method::kSsh && place == " here ") place = " there ";
  scope.key = cat(scope.method, place, scope.whose);
  return scope;
}

Becoming::Becoming(Loop& loop, BecomeSecrets& secrets, std::string program, std::string ssh_user)
    : loop_(loop), secrets_(secrets), program_(std::move(program)), ssh_user_(std::move(ssh_user)) {}

void Becoming::expect(const std::vector<Target>& targets) {
  std::set<std::string> seen;
  for (const Target& target : targets)
    for (const Target* at = &target; at != nullptr; at = at->hop.get())
      if (is_become(*at) && seen.insert(at->name).second) {
        secrets_.expect(become_scope(*at, ssh_user_), shown_name(*at));
        is_expected_ = true;
      }
}

std::shared_ptr<BecomeAnswerer> Becoming::let_ask(const Target& target, Recipe& recipe, bool on_terminal) {
  const BecomeScope scope = become_scope(target, ssh_user_);
  const bool has_terminal = target.method != Method::kSudo || on_terminal;
  if (target.method == Method::kSudo && on_terminal) put_on_terminal(recipe, secrets_.can_answer(scope.key));
  // su cannot be told to ask nothing: then it hears at once that nobody answers.
  if (!secrets_.can_answer(scope.key) && target.method != Method::kSu) return nullptr;
  auto answerer = std::make_shared<BecomeAnswerer>(secrets_, scope, shown_name(target), loop_.random(),
                                                   loop_.random(), has_terminal);
  recipe.extra().answerer = answerer;
  if (target.method == Method::kDoas) let_doas_ask(recipe);
  if (has_terminal) return answerer;
  // A root that holds a secret is closed to sudo, in /proc; a hop has no other name.
  const std::string program = target.hop ? std::string(kProgramPlace) : program_;
  banyan::let_ask(recipe, SudoAsks{program, answerer->token(), answerer->prompt()});
  return answerer;
}

}  // namespace banyan::cli
