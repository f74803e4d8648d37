/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_base;
const int rh_placeholder_base = 0;
