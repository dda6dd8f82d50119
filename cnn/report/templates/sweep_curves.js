"use strict"; // sweep_curves
