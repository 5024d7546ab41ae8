// Everything a program of your own needs: see docs/write-your-own-trainer.md, whose code is
// examples/custom_model and examples/regression. Add the headers of LibTorch's modules you use,
// such as <torch/nn/modules/linear.h>: <torch/torch.h> takes half a minute to compile.
#pragma once

#include "lockstep/base/error.h"
#include "lockstep/base/log.h"
#include "lockstep/cli/program.h"
#include "lockstep/cli/settings.h"
#include "lockstep/data/dataset.h"
#include "lockstep/data/load.h"
#include "lockstep/data/split.h"
#include "lockstep/model/dropout.h"
#include "lockstep/model/initialisation.h"
#include "lockstep/model/model.h"
#include "lockstep/model/step_context.h"
#include "lockstep/train/objective.h"
#include "lockstep/train/samples.h"
#include "lockstep/train/task.h"
