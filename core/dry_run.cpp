#include "core/dry_run.h"

namespace lacuna {
namespace {

thread_local bool dry = false;

}  // namespace

DryRun::DryRun() : previous_(dry) { dry = true; }
DryRun::~DryRun() { dry = previous_; }
bool DryRun::active() { return dry; }

}  // namespace lacuna
