#include "cli/reach.h"

#include <algorithm>
#include <utility>

#include "cli/options.h"
#include "core/text.h"
#include "transports/local.h"

namespace banyan::cli {
namespace {

// "2s", "250ms"
std::string duration_text(Nanos time) {
  return time % kSecond == 0 ? cat(time / kSecond, "s") : cat(time / kMillisecond, "ms");
}

}  // namespace

Reach::Reach(Loop& loop, Runner& runner, Connectors& connectors, ArchCache& cache, const SshOptions& ssh,
             BackEndWish wish)
    : loop_(loop),
      runner_(runner),
      connectors_(connectors),
      cache_(cache),
      ssh_(ssh),
      wish_(wish),
      answers_(ArchCache::default_folder(), local_user()),
      questions_(loop, local_user(), "ssh", &answers_),
      facts_(questions_.local(), has_connector()) {}

Reach::Id Reach::start(const Target& target, Runner::OnUp on_up, Runner::OnLost on_lost) {
  const Id id = next_++;
  Way& way = ways_[id];
  way.target = target;
  way.on_up = std::move(on_up);
  way.on_lost = std::make_shared<Runner::OnLost>(std::move(on_lost));
  way.began = loop_.now();
  if (target.local || wish_ == BackEndWish::kOpenssh || !has_connector()) {
    try_now(id, true);
    return id;
  }
  questions_.ask({target.name, target.user, target.host, target.port}, ssh_,
                 [this, id](const SshQuestions::Answer& answer) { on_settings(id, answer); });
  return id;
}

void Reach::on_settings(Id id, const SshQuestions::Answer& answer) {
  const auto found = ways_.find(id);
  if (found == ways_.end()) return;
  if (found->second.cancelled)
    return on_up(id, Error{ErrorClass::kCancelled, Phase::kResolve, "cancelled", {}});
  if (!answer) return on_up(id, answer.error());
  const SshSettings& settings = **answer;
  const BackEndChoice choice = choose_back_end(facts_.about(settings), wish_);
  if (choice.is_refused)
    return on_up(id, Error{ErrorClass::kRefused, Phase::kResolve,
                           cat("--ssh libssh2: ", choice.setting, ": ", choice.because), choice.remedy});
  if (choice.back_end == BackEnd::kLibssh2) found->second.session = session_settings(settings);
  try_now(id, true);
}

void Reach::try_now(Id id, bool may_guess) {
  Way& way = ways_.at(id);
  way.guess = may_guess && !way.target.local ? cache_.find(cache_key(way.target)) : "";
  const Target& target = way.target;
  // A second try has what the first has left of the time.
  SshOptions options = ssh_;
  if (options.connect_timeout > 0)
    options.connect_timeout =
        std::max(options.connect_timeout - (loop_.now() - way.began), Nanos(kMillisecond));
  const std::uint64_t nonce = loop_.random();
  Recipe recipe;
  if (target.local) {
    recipe = local(target.name, options.connect_timeout);
  } else if (way.session) {
    recipe = libssh2(target.name, *way.session, options.connect_timeout, nonce, way.guess, connectors_);
  } else {
    recipe = openssh({target.name, target.user, target.host, target.port}, options, nonce, way.guess);
  }
  way.start = runner_.start(
      std::move(recipe), [this, id](Result<Child> child) { on_up(id, std::move(child)); },
      [on_lost = way.on_lost](ContextId child, const Error& error) { (*on_lost)(child, error); });
}

void Reach::on_up(Id id, Result<Child> child) {
  auto it = ways_.find(id);
  ASSERT(it != ways_.end());
  Way& way = it->second;
  if (!child && child.error().wrong_guess && !way.cancelled) {
    cache_.forget(cache_key(way.target));
    return try_now(id, false);
  }
  if (child && !way.target.local) cache_.learn(cache_key(way.target), child->hello.architecture);
  if (!child && child.error().error_class == ErrorClass::kTimeout) {
    Error error = child.error();
    // ssh's own words, where it had any, come with a remedy and say more.
    if (error.remedy.empty() && ssh_.connect_timeout > 0 && loop_.now() - way.began >= ssh_.connect_timeout)
      error.text = cat(
          "not up after ", duration_text(ssh_.connect_timeout), ", as --connect-timeout says",
          std::string_view(error.text).substr(std::min(error.text.find("; last words"), error.text.size())));
    if (error.remedy.empty() && !way.target.local) error.remedy = cat("try ssh ", way.target.host, " true");
    child = std::move(error);
  }
  Runner::OnUp on_up = std::move(way.on_up);
  ways_.erase(it);
  on_up(std::move(child));
}

void Reach::cancel(Id id) {
  auto it = ways_.find(id);
  if (it == ways_.end()) return;
  it->second.cancelled = true;
  if (it->second.start != 0) runner_.cancel(it->second.start);
}

Phase Reach::phase_of(Id id) const {
  auto it = ways_.find(id);
  if (it == ways_.end()) return Phase::kLink;
  return it->second.start == 0 ? Phase::kResolve : runner_.phase_of(it->second.start);
}

void Reach::save() {
  cache_.save();
  answers_.save();
}

// The user does not matter to it; the configuration does, since a name may mean another machine there.
std::string Reach::cache_key(const Target& target) const {
  const std::uint16_t port = target.port != 0 ? target.port : ssh_.port;
  std::string key = cat(target.host, " ", port);
  if (!ssh_.config_file.empty()) key += cat(" ", ssh_.config_file);
  return key;
}

}  // namespace banyan::cli
