#include "cli/events.h"

#include <string.h>

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "cli/printable.h"
#include "core/text.h"
#include "transports/base64.h"

namespace banyan::cli {
namespace {

using Json = nlohmann::ordered_json;  // the order of the table in docs/cli.md

std::string line(const Json& json, bool ascii) {
  // Names and texts from elsewhere need not be UTF-8: then the replacement character, never an exception.
  return json.dump(-1, ' ', ascii, Json::error_handler_t::replace) + '\n';
}

double seconds(Nanos time) {
  const Nanos microseconds = time / kMicrosecond;  // more digits mean nothing
  return double(microseconds) / 1e6;
}

Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

}  // namespace

std::string Events::start(std::string_view target, ContextId context, const std::vector<std::string>& route,
                          std::string_view transport) const {
  return line({{"event", "start"},
               {"target", target},
               {"context", context},
               {"route", route},
               {"transport", transport}},
              ascii_);
}

std::string Events::out(std::string_view target, bool is_err, std::string_view bytes) const {
  Json json = {{"event", "out"}, {"target", target}, {"stream", is_err ? "stderr" : "stdout"}};
  if (is_utf8(bytes)) {
    json["data"] = bytes;
  } else {
    json["base64"] = encode_base64(as_bytes(bytes));
  }
  return line(json, ascii_);
}

std::string Events::exit(std::string_view target, std::optional<int> code, std::optional<int> signal,
                         Nanos took) const {
  return line({{"event", "exit"},
               {"target", target},
               {"code", code ? Json(*code) : Json(nullptr)},
               {"signal", signal ? Json(signal_name(*signal)) : Json(nullptr)},
               {"seconds", seconds(took)}},
              ascii_);
}

std::string Events::fail(std::string_view target, const std::vector<std::string>& route, const Error& error,
                         Nanos took) const {
  return line({{"event", "fail"},
               {"target", target},
               {"route", route},
               {"phase", name_of(error.phase)},
               {"class", name_of(error.error_class)},
               {"error", error.text},
               {"remedy", or_null(error.remedy)},
               {"started", name_of(error.started)},
               {"seconds", seconds(took)}},
              ascii_);
}

std::string Events::summary(const Counts& counts, Nanos took, int exit_code) const {
  return line({{"event", "summary"},
               {"ok", counts.ok},
               {"failed", counts.failed},
               {"timeout", counts.timeout},
               {"unreachable", counts.unreachable},
               {"cancelled", counts.cancelled},
               {"seconds", seconds(took)},
               {"exit_code", exit_code}},
              ascii_);
}

std::string Events::context(const ContextFacts& facts) const {
  return line({{"context", facts.context},
               {"parent", facts.parent ? Json(*facts.parent) : Json(nullptr)},
               {"name", facts.name},
               {"method", facts.method},
               {"arch", facts.architecture},
               {"pid", facts.pid},
               {"rtt_us", facts.round_trip ? Json(*facts.round_trip / kMicrosecond) : Json(nullptr)},
               {"rss_kib", facts.resident_kib}},
              ascii_);
}

std::string Events::plan(const TargetPlan& plan) const {
  using Kind = PlanChoice::Kind;
  Json route = Json::array();
  for (const TargetPlan::Step& choices : plan.route) {
    Json step = Json::object(), because = Json::object();
    for (const PlanChoice& choice : choices) {
      Json& value = step[choice.key];
      if (choice.kind == Kind::kList) {
        value = choice.values;
      } else if (choice.values.empty()) {
        value = nullptr;
      } else if (choice.kind == Kind::kNumber) {
        value = std::strtoll(choice.values[0].c_str(), nullptr, 10);
      } else if (choice.kind == Kind::kFlag) {
        value = choice.values[0] == "yes";
      } else {
        value = choice.values[0];
      }
      because[choice.key] = choice.because;
    }
    step["because"] = because;
    route.push_back(step);
  }
  return line({{"target", plan.target}, {"route", route}}, ascii_);
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? cat("SIG", signal) : cat("SIG", std::string_view(name));
}

}  // namespace banyan::cli
