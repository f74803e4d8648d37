/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_plan;
const int rh_placeholder_plan = 0;
