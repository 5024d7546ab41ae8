// What nearly every file that uses LibTorch includes; precompiled once (see LockstepTargets.cmake).
#pragma once
#include <ATen/ATen.h>
#include <torch/autograd.h>
#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>
#include <vector>
