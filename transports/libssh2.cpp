#include "transports/libssh2.h"

#include <utility>

#include "parent/api/stage0.h"

namespace banyan {
namespace {

class SessionSource final : public CarrierSource {
 public:
  SessionSource(Connectors& connectors, const SessionSettings& settings, std::string command)
      : connectors_(connectors), settings_(settings), command_(std::move(command)) {}

  Result<std::unique_ptr<Carrier>> carry(Fd far_end, Carrier::Owner& owner) override {
    return connectors_.open(settings_, command_, std::move(far_end), owner);
  }

 private:
  Connectors& connectors_;
  const SessionSettings settings_;
  const std::string command_;
};

}  // namespace

Recipe libssh2(std::string name, const SessionSettings& settings, Nanos connect_timeout, std::uint64_t nonce,
               std::string_view architecture, Connectors& connectors) {
  Recipe recipe;
  recipe.name = std::move(name);
  recipe.method = "ssh";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = nonce;
  recipe.architecture = architecture;
  recipe.source =
      std::make_shared<SessionSource>(connectors, settings, std::string(stage0_command(nonce, architecture)));
  recipe.deadlines.total = connect_timeout;
  return recipe;
}

}  // namespace banyan
