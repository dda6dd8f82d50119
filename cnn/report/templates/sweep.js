"use strict"; // sweep
