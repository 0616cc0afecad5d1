#include "cli/doctor_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/printable.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

using Json = nlohmann::ordered_json;  // the order of docs/cli.md

std::string shown(Nanos time) {
  const Nanos milliseconds = (time + kMillisecond / 2) / kMillisecond;
  if (milliseconds < 1) return "<1 ms";
  if (milliseconds < 1000) return cat(milliseconds, " ms");
  return cat(milliseconds / 1000, ".", milliseconds % 1000 / 100, " s");
}

std::string left(std::string text, std::size_t width) {
  text.append(width - std::min(width, text.size()), ' ');
  return text;
}

std::string right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string word(LadderStep::State state) {
  return state == LadderStep::State::kOk       ? "ok"
         : state == LadderStep::State::kFailed ? "FAILED"
                                               : "not reached";
}

std::string label(const std::string& name) {
  return name == "stage0" ? "stage 0" : name;
}

Json seconds(std::optional<Nanos> time) {
  if (!time) return nullptr;
  const Nanos microseconds = *time / kMicrosecond;  // more digits mean nothing
  return double(microseconds) / 1e6;
}

}  // namespace

std::string DoctorReport::failed() const {
  const auto step = std::ranges::find(steps, LadderStep::State::kFailed, &LadderStep::state);
  return step == steps.end() ? "" : step->name;
}

std::string doctor_text(const DoctorReport& report) {
  const std::string failed = report.failed();
  std::string text = cat(printable(report.target), ": ",
                         !report.error ? std::string("all is well") : cat("fails at ", label(failed)), " (",
                         shown(report.took), ")\n");
  for (const LadderStep& step : report.steps) {
    std::string line = cat("  ", left(label(step.name), 10), left(word(step.state), 12),
                           right(step.took ? shown(*step.took) : "", 7), "  ", printable(step.found));
    line.erase(line.find_last_not_of(' ') + 1);
    text += cat(line, "\n");
  }
  if (report.error && !report.error->remedy.empty())
    text += cat("  -> ", printable(report.error->remedy), "\n");
  return text;
}

std::string doctor_json(const DoctorReport& report, bool ascii) {
  Json steps = Json::array();
  for (const LadderStep& step : report.steps) {
    Json facts = Json::object();
    for (const auto& [key, value] : step.facts)
      std::visit([&facts, &name = key](const auto& one) { facts[name] = one; }, value);
    const char* state = step.state == LadderStep::State::kOk       ? "ok"
                        : step.state == LadderStep::State::kFailed ? "failed"
                                                                   : "not_reached";
    steps.push_back({{"step", step.name},
                     {"state", state},
                     {"seconds", seconds(step.took)},
                     {"found", step.found},
                     {"facts", facts}});
  }
  const auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  const std::string failed = report.failed();
  const Json object = {
      {"target", report.target},
      {"well", !report.error},
      {"failed", or_null(failed)},
      {"class", report.error ? Json(name_of(report.error->error_class)) : Json(nullptr)},
      {"error", report.error ? Json(report.error->text) : Json(nullptr)},
      {"remedy", report.error ? or_null(report.error->remedy) : Json(nullptr)},
      {"seconds", seconds(report.took)},
      {"steps", steps},
  };
  // What a host says need not be UTF-8.
  return object.dump(-1, ' ', ascii, Json::error_handler_t::replace) + '\n';
}

}  // namespace banyan::cli
