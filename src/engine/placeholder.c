/* SPDX-License-Identifier: Apache-2.0 */
extern const int rh_placeholder_engine;
const int rh_placeholder_engine = 0;
